//! Modules, kernels and their launches.

use std::{
    collections::HashMap,
    ffi::{CStr, c_char, c_int, c_uint, c_void},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{Handle, context, put};
use crate::{
    counters::{self, Counter, complain, log},
    ptx::{self, Fault, Grid, Module},
    status::{
        ERROR_FILE_NOT_FOUND, ERROR_INVALID_HANDLE, ERROR_INVALID_PTX, ERROR_INVALID_VALUE,
        ERROR_NOT_FOUND, ERROR_NOT_SUPPORTED, Status, status,
    },
    stream::{self, stream},
};

/// Shared memory of a block: by default, and at most.
const SHARED: u32 = 48 << 10;
const MOST_SHARED: u32 = 227 << 10;

struct Kernel {
    module: Arc<Module>,
    name: String,
    most_dynamic: Mutex<Option<u32>>,
}

#[derive(Default)]
struct Loaded {
    modules: HashMap<Handle, Arc<Module>>,
    kernels: HashMap<Handle, Arc<Kernel>>,
}

fn loaded() -> MutexGuard<'static, Loaded> {
    static LOADED: OnceLock<Mutex<Loaded>> = OnceLock::new();
    LOADED.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

fn handle() -> Handle {
    static NEXT: AtomicU64 = AtomicU64::new(0x10);
    NEXT.fetch_add(0x10, Ordering::Relaxed)
}

fn report(fault: Fault) -> Status {
    complain(format_args!("{fault}"));
    fault.status
}

fn load(place: *mut Handle, text: &[u8]) -> Result<(), Status> {
    context()?;
    let text = std::str::from_utf8(text).map_err(|_| ERROR_INVALID_PTX)?;
    if !text.contains(".version") {
        complain(format_args!("this module is not PTX"));
        return Err(ERROR_INVALID_PTX);
    }
    let module = Arc::new(Module::new(text).map_err(report)?);
    let handle = handle();
    log(|| format!("module {handle:#x} of {} kernels", module.kernels().len()));
    loaded().modules.insert(handle, module);
    put(place, handle)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuModuleLoadData(place: *mut Handle, image: *const c_char) -> Status {
    if image.is_null() {
        return ERROR_INVALID_VALUE;
    }
    // SAFETY: the driver's interface: PTX ends with a 0.
    status(load(place, unsafe { CStr::from_ptr(image) }.to_bytes()))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuModuleLoadDataEx(
    place: *mut Handle,
    image: *const c_char,
    _count: c_uint,
    _options: *mut c_int,
    _values: *mut *mut c_void,
) -> Status {
    cuModuleLoadData(place, image)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuModuleLoad(place: *mut Handle, path: *const c_char) -> Status {
    if path.is_null() {
        return ERROR_INVALID_VALUE;
    }
    // SAFETY: the driver's interface: a path ends with a 0.
    let path = unsafe { CStr::from_ptr(path) }.to_string_lossy().into_owned();
    let text = std::fs::read(path).map_err(|_| ERROR_FILE_NOT_FOUND);
    status(text.and_then(|text| load(place, &text)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuModuleUnload(module: Handle) -> Status {
    // Queued launches keep their module alive.
    let removed = loaded().modules.remove(&module);
    status(removed.map(drop).ok_or(ERROR_INVALID_HANDLE))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuModuleGetFunction(
    place: *mut Handle,
    module: Handle,
    name: *const c_char,
) -> Status {
    if name.is_null() {
        return ERROR_INVALID_VALUE;
    }
    // SAFETY: the driver's interface: a name ends with a 0.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
    let mut loaded = loaded();
    let Some(module) = loaded.modules.get(&module).cloned() else { return ERROR_INVALID_HANDLE };
    if !module.has(&name) {
        complain(format_args!("the module has no kernel {name}"));
        return ERROR_NOT_FOUND;
    }
    let handle = handle();
    let kernel = Kernel { module, name, most_dynamic: Mutex::new(None) };
    loaded.kernels.insert(handle, Arc::new(kernel));
    status(put(place, handle))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuModuleGetGlobal_v2(
    place: *mut u64,
    bytes: *mut usize,
    module: Handle,
    name: *const c_char,
) -> Status {
    if name.is_null() {
        return ERROR_INVALID_VALUE;
    }
    // SAFETY: the driver's interface: a name ends with a 0.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
    let Some(module) = loaded().modules.get(&module).cloned() else { return ERROR_INVALID_HANDLE };
    let Some((address, size)) = module.variable(&name) else { return ERROR_NOT_FOUND };
    if !place.is_null()
        && let Err(error) = put(place, address)
    {
        return error;
    }
    if bytes.is_null() { 0 } else { status(put(bytes, size)) }
}

fn kernel(handle: Handle) -> Result<Arc<Kernel>, Status> {
    loaded().kernels.get(&handle).cloned().ok_or(ERROR_INVALID_HANDLE)
}

impl Kernel {
    fn function(&self) -> Result<Arc<ptx::Function>, Status> {
        self.module.function(&self.name).map_err(report)
    }

    fn most_dynamic(&self) -> MutexGuard<'_, Option<u32>> {
        self.most_dynamic.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuFuncGetAttribute(
    place: *mut c_int,
    attribute: c_int,
    function: Handle,
) -> Status {
    let value = || {
        let kernel = kernel(function)?;
        let function = kernel.function()?;
        Ok(match attribute {
            0 => 1024,
            1 => function.shared as c_int,
            3 => function.local as c_int,
            4 => 32,
            5 | 6 => 90,
            8 => kernel.most_dynamic().unwrap_or(SHARED - function.shared) as c_int,
            2 | 7 | 9.. => 0,
            _ => return Err(ERROR_INVALID_VALUE),
        })
    };
    status(value().and_then(|value| put(place, value)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuFuncSetAttribute(
    function: Handle,
    attribute: c_int,
    value: c_int,
) -> Status {
    let set = || {
        let kernel = kernel(function)?;
        if attribute == 8 {
            let most = MOST_SHARED - kernel.function()?.shared;
            let value = u32::try_from(value).ok().filter(|value| *value <= most);
            *kernel.most_dynamic() = Some(value.ok_or(ERROR_INVALID_VALUE)?);
        }
        Ok(())
    };
    status(set())
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuFuncSetCacheConfig(function: Handle, _config: c_int) -> Status {
    status(kernel(function).map(drop))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuOccupancyMaxActiveBlocksPerMultiprocessor(
    blocks: *mut c_int,
    function: Handle,
    threads: c_int,
    _shared: usize,
) -> Status {
    let most =
        |_| if threads > 0 { Ok((2048 / threads).min(32)) } else { Err(ERROR_INVALID_VALUE) };
    status(kernel(function).and_then(most).and_then(|most| put(blocks, most)))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
    blocks: *mut c_int,
    function: Handle,
    threads: c_int,
    shared: usize,
    _flags: c_uint,
) -> Status {
    cuOccupancyMaxActiveBlocksPerMultiprocessor(blocks, function, threads, shared)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuOccupancyMaxPotentialBlockSize(
    blocks: *mut c_int,
    threads: *mut c_int,
    function: Handle,
    _shared_of: *const c_void,
    _shared: usize,
    limit: c_int,
) -> Status {
    let threads_of = if limit > 0 { limit.min(1024) } else { 1024 };
    let outcome = kernel(function).and_then(|_| put(threads, threads_of));
    status(outcome.and_then(|()| put(blocks, 132 * (2048 / threads_of).min(32))))
}

/// The arguments of a launch, copied.
fn parameters(
    function: &ptx::Function,
    values: *const *const u8,
    extra: *const *const c_void,
) -> Result<Vec<u8>, Status> {
    if !extra.is_null() {
        complain(format_args!("kernel parameters in one buffer are not emulated"));
        return Err(ERROR_NOT_SUPPORTED);
    }
    if values.is_null() && !function.parameters.is_empty() {
        return Err(ERROR_INVALID_VALUE);
    }
    let mut buffer = vec![0; function.parameter_bytes as usize];
    for (place, parameter) in function.parameters.iter().enumerate() {
        let (from, to) = (parameter.offset as usize, (parameter.offset + parameter.bytes) as usize);
        // SAFETY: the driver's interface: there is a pointer for each parameter, to as many bytes
        // as it has.
        unsafe {
            let value = *values.add(place);
            std::ptr::copy_nonoverlapping(value, buffer[from..to].as_mut_ptr(), to - from);
        }
    }
    Ok(buffer)
}

fn launch(
    function: Handle,
    grid: Grid,
    handle: Handle,
    values: *const *const u8,
    extra: *const *const c_void,
) -> Result<(), Status> {
    context()?;
    let kernel = kernel(function)?;
    log(|| format!("launch {} {grid:?} on {handle:#x}", kernel.name));
    let function = kernel.function()?;
    let report_launch =
        |fault: Fault| report(Fault::new(fault.status, format!("{}: {fault}", kernel.name)));
    grid.check().map_err(report_launch)?;
    let most = kernel.most_dynamic().unwrap_or(SHARED.saturating_sub(function.shared));
    if grid.shared > most {
        let what = format!("{} bytes of shared memory, {most} are allowed", grid.shared);
        return Err(report_launch(Fault::new(ERROR_INVALID_VALUE, what)));
    }
    let parameters = parameters(&function, values, extra)?;
    counters::add(Counter::Launches);
    let job = move || {
        // The module's variables live as long as its launches.
        let _kernel = &kernel;
        ptx::run(&function, grid, &parameters).map_err(report)
    };
    stream::give(stream(handle)?, Box::new(job))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuLaunchKernel(
    function: Handle,
    grid_x: c_uint,
    grid_y: c_uint,
    grid_z: c_uint,
    block_x: c_uint,
    block_y: c_uint,
    block_z: c_uint,
    shared: c_uint,
    handle: Handle,
    values: *const *const u8,
    extra: *const *const c_void,
) -> Status {
    let grid =
        Grid { blocks: [grid_x, grid_y, grid_z], threads: [block_x, block_y, block_z], shared };
    status(launch(function, grid, handle, values, extra))
}

/// `CUlaunchConfig`; the attributes change how a kernel is scheduled, not what it computes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Configuration {
    blocks: [c_uint; 3],
    threads: [c_uint; 3],
    shared: c_uint,
    stream: Handle,
    attributes: *const c_void,
    count: c_uint,
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuLaunchKernelEx(
    configuration: *const Configuration,
    function: Handle,
    values: *const *const u8,
    extra: *const *const c_void,
) -> Status {
    if configuration.is_null() {
        return ERROR_INVALID_VALUE;
    }
    // SAFETY: the driver's interface: the configuration can be read.
    let Configuration { blocks, threads, shared, stream, .. } = unsafe { configuration.read() };
    status(launch(function, Grid { blocks, threads, shared }, stream, values, extra))
}
