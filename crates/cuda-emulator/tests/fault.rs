//! A kernel's error is reported at the next wait, and from then on: in a separate process.

mod common;

use std::{
    ffi::{CString, c_void},
    ptr,
};

use common::*;
use taper_cuda_emulator as _;

#[test]
fn an_illegal_address_is_reported_late_and_stays() {
    let text = ".version 9.0\n.target sm_90\n.address_size 64\n
        .visible .entry wild(.param .u64 p) { .reg .b64 %rd<2>; ld.param.u64 %rd1, [p];
        st.global.u64 [%rd1+8], %rd1; ret; }
        .visible .entry odd() { frobnicate.b32; ret; }";
    let (text, wild, odd) =
        (CString::new(text).unwrap(), CString::new("wild").unwrap(), CString::new("odd").unwrap());
    // SAFETY: the texts end with 0, the parameters are those of the kernels.
    unsafe {
        let (mut context, mut module, mut function, mut address) = (0, 0, 0, 0);
        assert_eq!(cuMemAlloc_v2(&mut address, 8), 201, "no context yet");
        assert_eq!(cuDevicePrimaryCtxRetain(&mut context, 0), 0);
        assert_eq!(cuCtxSetCurrent(context), 0);
        assert_eq!(cuMemAlloc_v2(&mut address, 81 << 30), 2, "more than there is");
        assert_eq!(cuMemAlloc_v2(&mut address, 8), 0);
        assert_eq!(cuModuleLoadData(&mut module, text.as_ptr().cast()), 0);
        let launch = |function: u64, parameters: *const *const c_void| {
            cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, 0, parameters, ptr::null())
        };
        assert_eq!(cuModuleGetFunction(&mut function, module, odd.as_ptr().cast()), 0);
        assert_eq!(launch(function, ptr::null()), 218, "an instruction that is not known");
        assert_eq!(cuModuleGetFunction(&mut function, module, wild.as_ptr().cast()), 0);
        let parameters = [ptr::from_ref(&address).cast()];
        assert_eq!(launch(function, parameters.as_ptr()), 0);
        assert_eq!(cuStreamSynchronize(0), 700);
        assert_eq!(launch(function, parameters.as_ptr()), 700);
        assert_eq!(cuMemAlloc_v2(&mut address, 8), 700);
    }
}
