//! `taper completions` and `taper man`: what packages of the program bring along.

use std::{fs, io};

use taper_args::{CompletionsArgs, ManArgs};
use taper_outputs::OutFolder;
use taper_run::Error;

use crate::output::{Status, answer_line};

/// Prints the completions of a shell.
pub(crate) fn completions(args: &CompletionsArgs) -> anyhow::Result<Status> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut taper_args::command(), "taper", &mut text);
    answer_line(String::from_utf8_lossy(&text).trim_end())?;
    Ok(Status::Done)
}

/// Writes the manual.
pub(crate) fn man(args: &ManArgs) -> anyhow::Result<Status> {
    let out = OutFolder::from(&args.out);
    out.check().map_err(Error::from)?;
    let (folder, ()) = out.make(|folder| {
        let pages = clap_mangen::generate_to(taper_args::command(), folder);
        pages.map_err(taper_outputs::Error::io("write", folder)).map_err(Error::from)
    })?;
    let pages = fs::read_dir(&folder).map_or(0, |files| files.filter(io::Result::is_ok).count());
    answer_line(&format!(
        "{pages} pages in {}: man {}/taper.1",
        folder.display(),
        folder.display()
    ))?;
    Ok(Status::Done)
}
