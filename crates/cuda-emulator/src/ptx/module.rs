//! A module: the functions and variables of one PTX text.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    block::{self, Grid},
    decode::decode,
    fault::Fault,
    program::Function,
    text::{Source, outline, without_comments},
};
use crate::{
    memory::{self, Place},
    status::{ERROR_INVALID_PTX, ERROR_NOT_FOUND, ERROR_OUT_OF_MEMORY},
};

/// A PTX module that is loaded.
pub struct Module {
    source: Source,
    functions: Mutex<HashMap<String, Arc<Function>>>,
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module").field("functions", &self.source.outline.functions.len()).finish()
    }
}

impl Module {
    /// Reads a text; its functions are decoded when they are first asked for.
    ///
    /// # Errors
    /// Where the text is no PTX.
    pub fn new(text: &str) -> Result<Self, Fault> {
        let text = without_comments(text).into_owned();
        let outline = outline(&text)?;
        let (mut globals, mut shared) = (HashMap::new(), Vec::new());
        for variable in &outline.variables {
            match variable.space.as_str() {
                "shared" => shared.push(variable.clone()),
                "global" | "const" => {
                    let bytes = variable.bytes.max(1) as usize;
                    let address = memory::allocate(bytes, Place::Module, 0)
                        .map_err(|_| Fault::new(ERROR_OUT_OF_MEMORY, "no memory for a module"))?;
                    let mut content = variable.content.clone().unwrap_or_default();
                    content.resize(bytes, 0);
                    // SAFETY: this many bytes were just allocated, and no other code has access to
                    // them.
                    unsafe {
                        std::ptr::copy_nonoverlapping(content.as_ptr(), address as *mut u8, bytes);
                    }
                    globals.insert(variable.name.clone(), address);
                }
                _ => {}
            }
        }
        let source = Source { text, outline, globals, shared };
        Ok(Self { source, functions: Mutex::default() })
    }

    /// The names of the kernels.
    pub fn kernels(&self) -> Vec<&str> {
        let functions = &self.source.outline.functions;
        functions.iter().filter(|(_, header)| header.entry).map(|(name, _)| name.as_str()).collect()
    }

    /// Whether there is a kernel of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.source.outline.functions.get(name).is_some_and(|header| header.entry)
    }

    /// A variable's address and size.
    pub(crate) fn variable(&self, name: &str) -> Option<(u64, usize)> {
        let address = *self.source.globals.get(name)?;
        memory::size_of(address).map(|bytes| (address, bytes))
    }

    /// A kernel, ready to run.
    pub(crate) fn function(&self, name: &str) -> Result<Arc<Function>, Fault> {
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(function) = functions.get(name) {
            return Ok(Arc::clone(function));
        }
        let header = self.source.outline.functions.get(name);
        let Some(header) = header.filter(|header| header.entry) else {
            return Err(Fault::new(ERROR_NOT_FOUND, format!("there is no kernel {name}")));
        };
        let function = decode(&self.source, name, header);
        let function = function.map_err(|unclear| {
            let what = format!("kernel {name}, PTX line {}: {}", unclear.line, unclear.what);
            Fault::new(ERROR_INVALID_PTX, what)
        })?;
        let function = Arc::new(function);
        functions.insert(name.to_owned(), Arc::clone(&function));
        Ok(function)
    }

    /// Runs a kernel at once.
    ///
    /// # Errors
    /// An instruction that is not known, or an access where nothing is allocated; also if the
    /// parameters are not as many bytes as the kernel takes.
    pub fn run(&self, name: &str, grid: Grid, parameters: &[u8]) -> Result<(), Fault> {
        let function = self.function(name)?;
        block::run(&function, grid, parameters)
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        for address in self.source.globals.values() {
            // They were in the registry since the module was made.
            let _ = memory::release(*address);
        }
    }
}
