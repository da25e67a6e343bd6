//! A function in executable form: instructions over slots.

/// A place in a frame's registers.
pub(crate) type Slot = u32;

/// The slot of the frame's place in local memory.
pub(crate) const LOCAL_BASE: Slot = 0;
/// The slot of the carry flag.
pub(crate) const CARRY: Slot = 1;

/// Where an instruction finds its operands.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Operands {
    /// The result.
    pub(crate) d: Slot,
    pub(crate) a: Slot,
    pub(crate) b: Slot,
    pub(crate) c: Slot,
    pub(crate) e: Slot,
    /// A second result.
    pub(crate) f: Slot,
}

/// How many threads run together.
pub(crate) const LANES: usize = 32;

/// A register of all threads of a warp.
pub(crate) type Register = [u64; LANES];

/// An instruction that only touches registers, those of the lanes in a mask.
pub(crate) type Compute = fn(&mut [Register], &Operands, u32);

/// Writes a register's lanes that are in a mask.
#[inline(always)]
pub(crate) fn put(registers: &mut [Register], slot: Slot, mask: u32, values: &Register) {
    let register = &mut registers[slot as usize];
    if mask == !0 {
        *register = *values;
    } else {
        for (lane, (place, value)) in register.iter_mut().zip(values).enumerate() {
            if mask >> lane & 1 != 0 {
                *place = *value;
            }
        }
    }
}

/// Computes `d` from `a`, lane by lane. Those outside the mask are computed too, but not written.
#[inline(always)]
pub(crate) fn from_one(r: &mut [Register], i: &Operands, mask: u32, f: impl Fn(u64) -> u64) {
    let a = &r[i.a as usize];
    let mut out = [0; LANES];
    for lane in 0..LANES {
        out[lane] = f(a[lane]);
    }
    put(r, i.d, mask, &out);
}

/// Computes `d` from `a` and `b`.
#[inline(always)]
pub(crate) fn from_two(r: &mut [Register], i: &Operands, mask: u32, f: impl Fn(u64, u64) -> u64) {
    let (a, b) = (&r[i.a as usize], &r[i.b as usize]);
    let mut out = [0; LANES];
    for lane in 0..LANES {
        out[lane] = f(a[lane], b[lane]);
    }
    put(r, i.d, mask, &out);
}

/// Computes `d` from `a`, `b` and `c`.
#[inline(always)]
pub(crate) fn from_three(
    r: &mut [Register],
    i: &Operands,
    mask: u32,
    f: impl Fn(u64, u64, u64) -> u64,
) {
    let (a, b, c) = (&r[i.a as usize], &r[i.b as usize], &r[i.c as usize]);
    let mut out = [0; LANES];
    for lane in 0..LANES {
        out[lane] = f(a[lane], b[lane], c[lane]);
    }
    put(r, i.d, mask, &out);
}

/// Computes `d` from `a`, `b`, `c` and `e`.
#[inline(always)]
pub(crate) fn from_four(
    r: &mut [Register],
    i: &Operands,
    mask: u32,
    f: impl Fn(u64, u64, u64, u64) -> u64,
) {
    let (a, b, c, e) = (&r[i.a as usize], &r[i.b as usize], &r[i.c as usize], &r[i.e as usize]);
    let mut out = [0; LANES];
    for lane in 0..LANES {
        out[lane] = f(a[lane], b[lane], c[lane], e[lane]);
    }
    put(r, i.d, mask, &out);
}

/// The memory that an address refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    Generic,
    Global,
    Shared,
    Local,
    /// The parameters of the kernel.
    Param,
}

/// Generic addresses of memory that is not global begin here, at addresses that no host process
/// uses.
pub(crate) const SHARED_WINDOW: u64 = 0xA000_0000_0000_0000;
pub(crate) const LOCAL_WINDOW: u64 = 0xB000_0000_0000_0000;
pub(crate) const PARAM_WINDOW: u64 = 0xC000_0000_0000_0000;
pub(crate) const WINDOW_MASK: u64 = 0xF000_0000_0000_0000;

/// Addresses of dynamic shared memory begin here; static ones begin at 0.
pub(crate) const DYNAMIC_SHARED: u64 = 1 << 22;

/// A load or a store: `lanes` values of `1 << log` bytes at `[base + offset]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    pub(crate) space: Space,
    pub(crate) log: u8,
    pub(crate) signed: bool,
    pub(crate) count: u8,
    pub(crate) lanes: [Slot; 4],
    pub(crate) base: Slot,
    pub(crate) offset: i64,
}

impl Access {
    pub(crate) fn bytes(&self) -> u64 {
        u64::from(self.count) << self.log
    }
}

/// The function of an atomic instruction on the old value and its operands.
pub(crate) type Combine = fn(u64, u64, u64) -> u64;

/// How lanes are exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Warp {
    ShuffleUp,
    ShuffleDown,
    ShuffleButterfly,
    ShuffleIndex,
    VoteAll,
    VoteAny,
    VoteUniform,
    VoteBallot,
    /// `bar.warp.sync`.
    Wait,
}

/// A call of a device function.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) function: std::sync::Arc<Function>,
    /// From the caller's local memory to the callee's: offsets and bytes.
    pub(crate) arguments: Vec<(u32, u32, u32)>,
    /// And back, at the end.
    pub(crate) results: Vec<(u32, u32, u32)>,
}

/// What an instruction does.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    Compute(Compute),
    Load(Access),
    Store(Access),
    /// The address is `[a + offset]`, the operands are `b` and `c`.
    Atomic {
        access: Access,
        combine: Combine,
        returns: bool,
    },
    Branch(u32),
    Return,
    Exit,
    Trap,
    Barrier,
    Warp(Warp),
    Call(u32),
    /// `__assertfail`: offset of its parameters in local memory.
    Assert([u32; 4]),
    Nothing,
}

/// An instruction.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) action: Action,
    pub(crate) operands: Operands,
    /// A predicate, and whether it must be false.
    pub(crate) guard: Option<(Slot, bool)>,
    pub(crate) line: u32,
}

/// Registers with a separate value for every thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Special {
    Thread(u8),
    BlockSize(u8),
    Block(u8),
    GridSize(u8),
    Lane,
    WarpNumber,
    LanesBelow,
    LanesUpTo,
    LanesAbove,
    DynamicShared,
    TotalShared,
    Clock,
    Zero,
}

/// A parameter's place.
#[derive(Clone, Debug)]
pub(crate) struct Parameter {
    pub(crate) offset: u32,
    pub(crate) bytes: u32,
}

/// A function, ready to run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) steps: Vec<Step>,
    pub(crate) calls: Vec<Call>,
    pub(crate) slots: u32,
    pub(crate) constants: Vec<(Slot, u64)>,
    pub(crate) specials: Vec<(Slot, Special)>,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) parameter_bytes: u32,
    /// Bytes of shared memory that it declares itself.
    pub(crate) shared: u32,
    /// Bytes of local memory of one frame.
    pub(crate) local: u32,
    /// Whether threads wait for each other.
    pub(crate) cooperative: bool,
}
