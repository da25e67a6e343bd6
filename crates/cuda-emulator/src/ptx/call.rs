//! Decoding of calls of device functions.

use std::sync::Arc;

use super::{
    decode::{Decoder, Symbol, align, decode},
    program::{Action, Call, Operands, Parameter},
    text::{Unclear, Variable},
};

impl Decoder<'_> {
    /// `call.uni (result), name, (arguments)`
    pub(super) fn call(&mut self, operands: &[&str], line: usize) -> Result<bool, Unclear> {
        let list = |text: &str| -> Option<Vec<String>> {
            let inner = text.strip_prefix('(')?.strip_suffix(')')?;
            let names = inner.split(',').map(|name| name.trim().to_owned());
            Some(names.filter(|name| !name.is_empty()).collect())
        };
        let (results, name, arguments) = match operands {
            [name] => (Some(Vec::new()), *name, Some(Vec::new())),
            [name, arguments] if !name.starts_with('(') => {
                (Some(Vec::new()), *name, list(arguments))
            }
            [results, name] => (list(results), *name, Some(Vec::new())),
            [results, name, arguments] => (list(results), *name, list(arguments)),
            _ => return Ok(false),
        };
        let (Some(results), Some(arguments)) = (results, arguments) else { return Ok(false) };
        let place = |decoder: &mut Self, name: &String| match decoder.symbols.get(name) {
            Some(Symbol::Frame(at)) => {
                Ok((*at, decoder.sizes.get(name).copied().unwrap_or_default()))
            }
            _ => Err(Unclear::new(line, format!("argument {name}"))),
        };
        let arguments: Vec<(u32, u32)> =
            arguments.iter().map(|name| place(self, name)).collect::<Result<_, _>>()?;
        let results: Vec<(u32, u32)> =
            results.iter().map(|name| place(self, name)).collect::<Result<_, _>>()?;
        if name == "__assertfail" && arguments.len() == 5 {
            let at = [0, 1, 2, 3].map(|n: usize| arguments[n].0);
            self.step(Action::Assert(at), Operands::default(), None, line);
            return Ok(true);
        }
        let header = self.source.outline.functions.get(name);
        let Some(header) = header.filter(|header| header.body.is_some()) else {
            return Err(Unclear::new(line, format!("{name} is called, but not there")));
        };
        let function = Arc::new(decode(self.source, name, header)?);
        let inputs = &function.parameters;
        let outputs: Vec<Parameter> = {
            // Space for results was reserved right after the parameters.
            let mut at = inputs.last().map_or(0, |last| last.offset + last.bytes);
            let place = |result: &Variable| {
                let offset = align(at, result.align);
                at = offset + result.bytes;
                Parameter { offset, bytes: result.bytes }
            };
            header.results.iter().map(place).collect()
        };
        if inputs.len() != arguments.len() || outputs.len() != results.len() {
            return Err(Unclear::new(line, format!("{name} takes other parameters")));
        }
        let pair = |(own, theirs): (&(u32, u32), &Parameter)| {
            (own.0, theirs.offset, own.1.min(theirs.bytes))
        };
        let arguments = arguments.iter().zip(inputs).map(pair).collect();
        let results = results.iter().zip(&outputs).map(pair).collect();
        if function.cooperative {
            return Err(Unclear::new(line, format!("{name} waits for other threads in a call")));
        }
        self.function.calls.push(Call { function, arguments, results });
        let number = self.function.calls.len() as u32 - 1;
        self.step(Action::Call(number), Operands::default(), None, line);
        Ok(true)
    }
}
