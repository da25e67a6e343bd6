//! What the driver's functions return (`CUresult` of cuda.h).

/// A result of the driver; anything but 0 is an error.
pub(crate) type Status = i32;

/// Every status that is returned here: name, number, description.
macro_rules! statuses {
    ($($name:ident = $value:literal, $text:literal;)*) => {
        $(pub(crate) const $name: Status = $value;)*

        /// The name and the description of a status.
        pub(crate) fn describe(status: Status) -> Option<(&'static [u8], &'static [u8])> {
            match status {
                $($value => Some((
                    concat!("CUDA_", stringify!($name), "\0").as_bytes(),
                    concat!($text, "\0").as_bytes(),
                )),)*
                _ => None,
            }
        }
    };
}

statuses! {
    SUCCESS = 0, "no error";
    ERROR_INVALID_VALUE = 1, "invalid argument";
    ERROR_OUT_OF_MEMORY = 2, "out of memory";
    ERROR_INVALID_DEVICE = 101, "invalid device ordinal";
    ERROR_INVALID_CONTEXT = 201, "invalid device context";
    ERROR_INVALID_PTX = 218, "a PTX JIT compilation failed";
    ERROR_FILE_NOT_FOUND = 301, "file not found";
    ERROR_INVALID_HANDLE = 400, "invalid resource handle";
    ERROR_NOT_FOUND = 500, "named symbol not found";
    ERROR_NOT_READY = 600, "device not ready";
    ERROR_ILLEGAL_ADDRESS = 700, "an illegal memory access was encountered";
    ERROR_ASSERT = 710, "device-side assert triggered";
    ERROR_MISALIGNED_ADDRESS = 716, "misaligned address";
    ERROR_LAUNCH_FAILED = 719, "unspecified launch failure";
    ERROR_NOT_SUPPORTED = 801, "operation not supported";
}

/// `SUCCESS`, or the error.
pub(crate) fn status(outcome: Result<(), Status>) -> Status {
    outcome.err().unwrap_or(SUCCESS)
}
