//! Small texts with known answers.

use half::{bf16, f16};

use super::{
    Fault, Grid, Module, arithmetic,
    program::{LANES, Operands},
    value::{Float, Value},
};
use crate::{
    memory::{self, Place},
    status::{
        ERROR_ASSERT, ERROR_ILLEGAL_ADDRESS, ERROR_INVALID_PTX, ERROR_LAUNCH_FAILED,
        ERROR_MISALIGNED_ADDRESS,
    },
};

/// Memory of the device for one test.
struct Buffer(u64, usize);

impl Buffer {
    fn new<T: Copy>(values: &[T]) -> Self {
        let bytes = size_of_val(values);
        let address = memory::allocate(bytes, Place::Device, 0).unwrap();
        // SAFETY: so many bytes were just allocated.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), address as *mut T, values.len()) };
        Self(address, bytes)
    }

    fn read<T: Copy>(&self) -> Vec<T> {
        // SAFETY: the buffer is as long as it was made, and aligned for everything.
        unsafe { std::slice::from_raw_parts(self.0 as *const T, self.1 / size_of::<T>()) }.to_vec()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        memory::discount(self.0).unwrap();
        memory::release(self.0).unwrap();
    }
}

/// A kernel `k` of so many pointers, with registers and a thread's number in `%r0`.
fn text(pointers: usize, before: &str, body: &str) -> String {
    let parameters: Vec<String> = (0..pointers).map(|n| format!(".param .u64 p{n}")).collect();
    let loads: Vec<String> =
        (0..pointers).map(|n| format!("ld.param.u64 %rd{n}, [p{n}];")).collect();
    format!(
        ".version 9.0\n.target sm_90\n.address_size 64\n{before}\n.visible .entry k({}) {{\n\
         .reg .pred %p<9>; .reg .b16 %rs<9>; .reg .b32 %r<20>; .reg .f32 %f<9>; \
         .reg .b64 %rd<20>;\n\
         mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x;\n\
         mad.lo.s32 %r0, %r2, %r3, %r1;\n{}\n{body}\nret; }}",
        parameters.join(", "),
        loads.join(" ")
    )
}

fn run(text: &str, grid: Grid, buffers: &[&Buffer]) -> Result<(), Fault> {
    let parameters: Vec<u8> = buffers.iter().flat_map(|b| b.0.to_le_bytes()).collect();
    Module::new(text)?.run("k", grid, &parameters)
}

/// What an operation makes of cells.
fn cell(operation: &str, inputs: &[u64]) -> u64 {
    let mut parts = operation.split('.');
    let name = parts.next().unwrap();
    let modifiers: Vec<&str> = parts.collect();
    let compute = arithmetic::compute(name, &modifiers).expect(operation);
    let mut registers = vec![[0; LANES]; 12];
    for (register, input) in registers[4..].iter_mut().zip(inputs) {
        register[5] = *input;
    }
    compute(&mut registers, &Operands { d: 2, a: 4, b: 5, c: 6, e: 7, f: 3 }, 1 << 5);
    assert_eq!(registers[2][4], 0, "not in the mask");
    registers[2][5]
}

fn float(operation: &str, inputs: &[f32]) -> f32 {
    let cells: Vec<u64> = inputs.iter().map(|x| x.write()).collect();
    f32::read(cell(operation, &cells))
}

#[test]
fn integers() {
    assert_eq!(cell("add.s32", &[0xFFFF_FFFF, 2]), 1);
    assert_eq!(cell("mul.wide.s32", &[0xFFFF_FFFF, 2]), (-2i64) as u64);
    assert_eq!(cell("mul.hi.u32", &[0xFFFF_FFFF, 0xFFFF_FFFF]), 0xFFFF_FFFE);
    assert_eq!(cell("mul.hi.u64", &[1 << 63, 4]), 2);
    assert_eq!(cell("mad.lo.s32", &[3, 4, 5]), 17);
    assert_eq!(cell("div.s32", &[(-7i32) as u32 as u64, 2]), (-3i32) as u32 as u64);
    assert_eq!(cell("rem.s32", &[(-7i32) as u32 as u64, 2]), (-1i32) as u32 as u64);
    assert_eq!(cell("div.u32", &[7, 0]), 0xFFFF_FFFF);
    assert_eq!(cell("shr.s32", &[0x8000_0000, 31]), 0xFFFF_FFFF);
    assert_eq!(cell("shr.u32", &[0x8000_0000, 32]), 0);
    assert_eq!(cell("min.s16", &[0xFFFF, 1]), 0xFFFF);
    assert_eq!(cell("setp.lt.s32", &[0xFFFF_FFFF, 0]), 1);
    assert_eq!(cell("setp.lt.u32", &[0xFFFF_FFFF, 0]), 0);
    assert_eq!(cell("selp.b32", &[1, 2, 0]), 2);
    assert_eq!(cell("lop3.b32", &[0b1100, 0b1010, 0b0110, 0x96]), 0b1100 ^ 0b1010 ^ 0b0110);
    assert_eq!(cell("shf.l.wrap.b32", &[0x8000_0000, 1, 1]), 3);
}

#[test]
fn floats() {
    assert_eq!(float("fma.rn.f32", &[1.0 + f32::EPSILON, 1.0 - f32::EPSILON, -1.0]), {
        -(f32::EPSILON * f32::EPSILON)
    });
    assert_eq!(float("add.rz.f32", &[1.0, -1e-10]), 1.0f32.next_down());
    assert_eq!(float("max.f32", &[f32::NAN, 1.0]), 1.0);
    assert!(float("max.NaN.f32", &[f32::NAN, 1.0]).is_nan());
    assert!(float("min.f32", &[0.0, -0.0]).is_sign_negative());
    assert_eq!(float("copysign.f32", &[-1.0, 3.0]), -3.0);
    assert_eq!(float("ex2.approx.f32", &[3.0]), 8.0);
    assert_eq!(float("rsqrt.approx.f32", &[4.0]), 0.5);
    assert_eq!(float("ex2.approx.ftz.f32", &[-140.0]), 0.0);
    assert_eq!(float("cvt.sat.f32.f32", &[f32::NAN]), 0.0);
    assert_eq!(float("cvt.rni.f32.f32", &[2.5]), 2.0);
    assert_eq!(float("cvt.rzi.f32.f32", &[-2.5]), -2.0);
    assert_eq!(cell("setp.ltu.f32", &[f32::NAN.write(), 0]), 1);
    assert_eq!(cell("setp.ne.f32", &[f32::NAN.write(), 0]), 0);
    assert_eq!(cell("setp.neu.f32", &[f32::NAN.write(), 0]), 1);
    assert_eq!(cell("set.eq.f16.f16", &[0x3C00, 0x3C00]), 0x3C00);
    let half = |x: f32| f16::from_f32(x).write();
    assert_eq!(cell("add.f16", &[half(1.0), half(2.0)]), half(3.0));
    let bf = |x: f32| bf16::from_f32(x).write();
    assert_eq!(cell("mul.bf16x2", &[bf(2.0) | bf(3.0) << 16, bf(4.0) | bf(5.0) << 16]), {
        bf(8.0) | bf(15.0) << 16
    });
}

#[test]
fn conversions() {
    assert_eq!(cell("cvt.u64.u32", &[0xFFFF_FFFF_0000_0001]), 1);
    assert_eq!(cell("cvt.s64.s32", &[0xFFFF_FFFF]), u64::MAX);
    assert_eq!(cell("cvt.sat.u8.s32", &[300]), 255);
    assert_eq!(cell("cvt.rzi.s32.f32", &[(-1.5f32).write()]) as i32, -1);
    assert_eq!(cell("cvt.rni.s32.f32", &[2.5f32.write()]), 2);
    assert_eq!(cell("cvt.rzi.u32.f32", &[(-1f32).write()]), 0);
    assert_eq!(cell("cvt.rzi.s32.f32", &[f32::NAN.write()]), 0);
    assert_eq!(cell("cvt.rzi.s64.f32", &[f32::NAN.write()]), 1 << 63);
    assert_eq!(f32::read(cell("cvt.rn.f32.u64", &[u64::MAX])), 18_446_744_073_709_551_615.0);
    assert_eq!(f16::read(cell("cvt.rn.f16.f32", &[65519.0f32.write()])), f16::MAX);
    assert_eq!(bf16::read(cell("cvt.rn.bf16.f32", &[(1.0 + 1.0f32 / 256.0).write()])), bf16::ONE);
    assert_eq!(f32::read(cell("cvt.rz.f32.f64", &[0.1f64.write()])), 0.1f32.next_down());
    let pair = cell("cvt.rn.f16x2.f32", &[2f32.write(), 1f32.write()]);
    assert_eq!(pair, f16::narrow(2.0).write() << 16 | f16::narrow(1.0).write());
}

#[test]
fn a_sum_in_several_words() {
    let body = "
        { .reg .b32 lo, hi; add.cc.u32 lo, -1, 1; addc.u32 hi, 5, 0; st.global.u32 [%rd0], lo;
          st.global.u32 [%rd0+4], hi; }
        mad.lo.cc.u32 %r4, -1, 2, 3; madc.hi.u32 %r5, -1, 2, 0;
        st.global.v2.u32 [%rd0+8], {%r4, %r5};";
    let out = Buffer::new(&[9u32; 4]);
    run(&text(1, "", body), Grid::line(1, 1), &[&out]).unwrap();
    assert_eq!(out.read::<u32>(), [0, 6, 1, 2]);
}

const ADD: &str = "
    // Out[i] = in[i] + i
    mul.wide.u32 %rd2, %r0, 4; add.s64 %rd3, %rd0, %rd2; add.s64 %rd4, %rd1, %rd2;
    ld.global.u32 %r4, [%rd3]; add.s32 %r4, %r4, %r0; st.global.u32 [%rd4], %r4;";

#[test]
fn blocks_and_threads() {
    let values: Vec<u32> = (0..4096).collect();
    let (from, to) = (Buffer::new(&values), Buffer::new(&vec![0u32; 4096]));
    run(&text(2, "", ADD), Grid::line(32, 128), &[&from, &to]).unwrap();
    assert!(to.read::<u32>().iter().enumerate().all(|(i, x)| *x == 2 * i as u32));
}

#[test]
fn accesses_are_checked() {
    let (from, to) = (Buffer::new(&[0u32; 31]), Buffer::new(&[0u32; 32]));
    let fault = run(&text(2, "", ADD), Grid::line(1, 32), &[&from, &to]).unwrap_err();
    assert_eq!(fault.status, ERROR_ILLEGAL_ADDRESS);
    for part in ["kernel k, PTX line 13", "thread [31, 0, 0]", "0 bytes behind", "of 124 bytes"] {
        assert!(fault.what.contains(part), "{part}: {fault}");
    }
    let odd = "ld.global.u32 %r4, [%rd0+2];";
    let fault = run(&text(1, "", odd), Grid::line(1, 1), &[&from]).unwrap_err();
    assert_eq!(fault.status, ERROR_MISALIGNED_ADDRESS);
    let shared = "mov.u32 %r4, s; st.shared.u32 [%r4+16], %r4;";
    let text = text(0, ".shared .align 4 .b8 s[16];", shared);
    assert_eq!(run(&text, Grid::line(1, 1), &[]).unwrap_err().status, ERROR_ILLEGAL_ADDRESS);
}

#[test]
fn what_is_not_known_is_an_error() {
    let fault = run(&text(0, "", "wmma.mma.sync %r1, %r2;"), Grid::line(1, 1), &[]).unwrap_err();
    assert_eq!(fault.status, ERROR_INVALID_PTX);
    assert!(fault.what.contains("wmma.mma.sync"), "{fault}");
    let fault = run(&text(0, "", "add.s32 %r1, %r2, %q3;"), Grid::line(1, 1), &[]).unwrap_err();
    assert!(fault.what.contains("%q3"), "{fault}");
    assert!(run(&text(0, "", "bra $nowhere;"), Grid::line(1, 1), &[]).is_err());
    assert!(run(&text(0, "", "ret;"), Grid::line(0, 1), &[]).is_err());
    assert!(run(&text(0, "", "ret;"), Grid::line(1, 1025), &[]).is_err());
}

#[test]
fn threads_wait_for_each_other() {
    // Reverses a block through dynamic shared memory, addressed generically.
    let body = "
        mov.u64 %rd2, d; cvta.shared.u64 %rd2, %rd2; mul.wide.u32 %rd3, %r1, 4;
        add.s64 %rd4, %rd2, %rd3; st.u32 [%rd4], %r0; bar.sync 0;
        sub.s32 %r4, %r3, %r1; mul.wide.u32 %rd5, %r4, 4; add.s64 %rd6, %rd2, %rd5;
        ld.u32 %r5, [%rd6+-4]; mul.wide.u32 %rd7, %r0, 4; add.s64 %rd8, %rd0, %rd7;
        st.global.u32 [%rd8], %r5;";
    let out = Buffer::new(&[0u32; 192]);
    let text = text(1, ".extern .shared .align 16 .b8 d[];", body);
    let grid = Grid { shared: 96 * 4, ..Grid::line(2, 96) };
    run(&text, grid, &[&out]).unwrap();
    let expected: Vec<u32> = (0..96).rev().chain((96..192).rev()).collect();
    assert_eq!(out.read::<u32>(), expected);
}

#[test]
fn lanes_are_exchanged() {
    let steps: String = [16, 8, 4, 2, 1]
        .map(|n| format!("shfl.sync.bfly.b32 %r5|%p1, %r4, {n}, 31, -1; add.s32 %r4, %r4, %r5;"))
        .concat();
    let body = format!(
        "mov.u32 %r4, %r0; {steps} mul.wide.u32 %rd1, %r0, 4; add.s64 %rd2, %rd0, %rd1;
         st.global.u32 [%rd2], %r4;"
    );
    let out = Buffer::new(&[0u32; 64]);
    run(&text(1, "", &body), Grid::line(1, 64), &[&out]).unwrap();
    let sums = out.read::<u32>();
    assert!(sums[..32].iter().all(|x| *x == 496) && sums[32..].iter().all(|x| *x == 496 + 1024));

    // Down: the upper lanes keep theirs, and are told so.
    let body = "shfl.sync.down.b32 %r4|%p1, %r0, 4, 31, -1; selp.u32 %r5, 1, 0, %p1;
        mul.wide.u32 %rd1, %r0, 8; add.s64 %rd2, %rd0, %rd1; st.global.v2.u32 [%rd2], {%r4, %r5};";
    run(&text(1, "", body), Grid::line(1, 32), &[&out]).unwrap();
    let pairs = out.read::<u32>();
    assert_eq!(pairs[..2], [4, 1]);
    assert_eq!(pairs[62..], [31, 0]);

    let alone =
        "setp.gt.u32 %p1, %r1, 3; @%p1 bra $end; shfl.sync.bfly.b32 %r4, %r0, 1, 31, -1; $end:";
    let fault = run(&text(0, "", alone), Grid::line(1, 32), &[]).unwrap_err();
    assert_eq!(fault.status, ERROR_LAUNCH_FAILED);
}

#[test]
fn lanes_go_different_ways_and_meet_again() {
    // Each sums 0..=i in a loop of its own length, odd ones leave early, and all count themselves
    // at the end.
    let body = "
        mov.u32 %r4, 0; mov.u32 %r5, 0; and.b32 %r6, %r0, 1; setp.eq.u32 %p2, %r6, 1;
        $loop: add.s32 %r4, %r4, %r5; add.s32 %r5, %r5, 1; setp.le.u32 %p1, %r5, %r0;
        @%p1 bra $loop;
        mul.wide.u32 %rd2, %r0, 4; add.s64 %rd3, %rd0, %rd2; @!%p2 st.global.u32 [%rd3], %r4;
        atom.global.add.u32 %r7, [%rd1], 1; @%p2 ret; st.global.u32 [%rd3+4], %r5;";
    let (out, count) = (Buffer::new(&[7u32; 50]), Buffer::new(&[0u32]));
    run(&text(2, "", body), Grid::line(1, 50), &[&out, &count]).unwrap();
    for (i, pair) in (0..50u32).step_by(2).zip(out.read::<u32>().chunks(2)) {
        assert_eq!(pair, [i * (i + 1) / 2, i + 1]);
    }
    assert_eq!(count.read::<u32>(), [50]);
}

#[test]
fn atomics() {
    let body = "atom.global.add.u32 %r4, [%rd0], 1; mov.f32 %f1, 0f3F000000;
        red.global.add.f32 [%rd0+4], %f1; atom.global.cas.b32 %r5, [%rd0+8], 0, %r3;";
    let out = Buffer::new(&[0u32; 3]);
    run(&text(1, "", body), Grid::line(64, 64), &[&out]).unwrap();
    assert_eq!(out.read::<u32>(), [4096, 2048f32.to_bits(), 64]);
}

#[test]
fn functions_are_called() {
    let function = "
        .global .align 8 .b8 table[16] = {1, 0, 0, 0, 0, 0, 0, 0, 2};
        .func (.param .align 8 .b8 r[16]) f(.param .b64 a, .param .b32 b) {
            .local .align 8 .b8 depot[8]; .reg .b64 %rd<9>; .reg .b32 %r<3>;
            ld.param.u64 %rd1, [a]; ld.param.u32 %r1, [b]; cvt.u64.u32 %rd2, %r1;
            mov.u64 %rd4, depot; cvta.local.u64 %rd4, %rd4; st.u64 [%rd4], %rd2;
            ld.local.u64 %rd5, [depot];
            add.s64 %rd3, %rd1, %rd5; mov.u64 %rd6, table; ld.global.u64 %rd7, [%rd6+8];
            st.param.b64 [r+0], %rd3; st.param.b64 [r+8], %rd7; ret;
        }";
    let body = "
        { .param .b64 x; .param .b32 y; .param .align 8 .b8 z[16];
          st.param.b64 [x+0], 40; st.param.b32 [y+0], %r0;
          call.uni (z), f, (x, y); ld.param.b64 %rd2, [z+0]; ld.param.b64 %rd3, [z+8]; }
        mul.wide.u32 %rd4, %r0, 16; add.s64 %rd5, %rd0, %rd4;
        st.global.v2.u64 [%rd5], {%rd2, %rd3};";
    let out = Buffer::new(&[0u64; 6]);
    run(&text(1, function, body), Grid::line(1, 3), &[&out]).unwrap();
    assert_eq!(out.read::<u64>(), [40, 2, 41, 2, 42, 2]);
}

#[test]
fn assertions_fail_with_their_words() {
    let before = "
        .extern .func __assertfail
            (.param .b64 a, .param .b64 b, .param .b32 c, .param .b64 d, .param .b64 e);
        .global .align 1 .b8 m[3] = {120, 60, 0};";
    let body = "
        { .param .b64 a; st.param.b64 [a+0], %rd2; .param .b64 b; .param .b32 c; .param .b64 d;
          .param .b64 e; mov.u64 %rd2, m; st.param.b64 [a+0], %rd2; st.param.b64 [b+0], %rd2;
          st.param.b32 [c+0], 7; st.param.b64 [d+0], %rd2; st.param.b64 [e+0], 1;
          call.uni __assertfail, (a, b, c, d, e); }";
    let fault = run(&text(0, before, body), Grid::line(1, 1), &[]).unwrap_err();
    assert_eq!(fault.status, ERROR_ASSERT);
    assert!(fault.what.contains("assertion x< fails in x<, x<:7"), "{fault}");
}

#[test]
fn packing_and_unpacking() {
    let body = "mov.b32 %r4, 0x00020001; mov.b32 {%rs1, %rs2}, %r4; mov.b32 %r5, {%rs2, %rs1};
        mov.b64 %rd2, {%r4, %r5}; st.global.u64 [%rd0], %rd2; mov.b64 {%r6, %r7}, %rd2;
        st.global.v2.u32 [%rd0+8], {%r7, %r6}; ld.global.s8 %r8, [%rd0+16]; st.global.u32 [%rd0+20], %r8;";
    let out = Buffer::new(&[0xFFu32; 6]);
    run(&text(1, "", body), Grid::line(1, 1), &[&out]).unwrap();
    assert_eq!(out.read::<u32>(), [0x2_0001, 0x1_0002, 0x1_0002, 0x2_0001, 0xFF, 0xFFFF_FFFF]);
}

/// Which kernels of the files named in `TAPER_PTX` have instructions that are not known.
#[test]
fn files_decode() {
    let files = std::env::var_os("TAPER_PTX").unwrap_or_default();
    for file in std::env::split_paths(&files).filter(|file| file.exists()) {
        let module = Module::new(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let (mut known, mut unknown) = (0, Vec::new());
        for kernel in module.kernels() {
            match module.function(kernel) {
                Ok(_) => known += 1,
                Err(fault) => unknown.push(fault.to_string()),
            }
        }
        println!("{}: {known} kernels, {} unknown", file.display(), unknown.len());
        println!("{}", unknown.join("\n"));
    }
}
