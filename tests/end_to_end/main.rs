//! Tests that run the real `taper` program, as a user would.

mod bad_input;
mod support;
mod whole_line;
