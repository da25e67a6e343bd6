//! From the text of a function to its steps.

use std::collections::HashMap;

use super::{
    arithmetic, compare,
    program::{
        Access, Action, Compute, DYNAMIC_SHARED, Function, LOCAL_BASE, Operands, Parameter, Slot,
        Space, Step,
    },
    special::special,
    text::{
        Header, Instruction, Source, Statement, Unclear, Variable, immediate, statements, variables,
    },
};

/// What the name of a variable refers to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Symbol {
    /// The address is known.
    Fixed(Space, u64),
    /// Within the frame's local memory.
    Frame(u32),
}

/// The state of decoding a function.
pub(super) struct Decoder<'a> {
    pub(super) source: &'a Source,
    entry: bool,
    pub(super) function: Function,
    /// Registers by name, the innermost scope last.
    scopes: Vec<HashMap<String, Slot>>,
    /// Ranges of registers (`%r<10>`).
    families: Vec<(String, u32)>,
    pub(super) symbols: HashMap<String, Symbol>,
    /// The calls, with their parameters.
    pub(super) sizes: HashMap<String, u32>,
    constants: HashMap<u64, Slot>,
    labels: HashMap<String, u32>,
    /// Branches to be resolved.
    jumps: Vec<(usize, String)>,
}

pub(super) fn decode(source: &Source, name: &str, header: &Header) -> Result<Function, Unclear> {
    let Some((range, line)) = header.body.clone() else {
        return Err(Unclear::new(0, format!("{name} is declared, but not there")));
    };
    let mut decoder = Decoder {
        source,
        entry: header.entry,
        function: Function { name: name.to_owned(), slots: 2, ..Function::default() },
        scopes: vec![HashMap::new()],
        families: Vec::new(),
        symbols: HashMap::new(),
        sizes: HashMap::new(),
        constants: HashMap::new(),
        labels: HashMap::new(),
        jumps: Vec::new(),
    };
    for parameter in &header.parameters {
        decoder.parameter(parameter, header.entry);
    }
    for result in &header.results {
        let at = decoder.reserve(result);
        decoder.symbols.insert(result.name.clone(), Symbol::Frame(at));
    }
    let body = &source.text[range];
    for (line, statement) in statements(body, line)? {
        match statement {
            Statement::Open => decoder.scopes.push(HashMap::new()),
            Statement::Close => {
                decoder.scopes.pop();
                if decoder.scopes.is_empty() {
                    return Err(Unclear::new(line, "a closing brace too many"));
                }
            }
            Statement::Label(label) => {
                let place = decoder.function.steps.len() as u32;
                decoder.labels.insert(label.to_owned(), place);
            }
            Statement::Directive(text) => decoder.directive(text, line)?,
            Statement::Instruction(instruction) => decoder.instruction(&instruction, line)?,
        }
    }
    decoder.finish()
}

pub(super) fn align(at: u32, to: u32) -> u32 {
    at.div_ceil(to.max(1)) * to.max(1)
}

impl Decoder<'_> {
    fn parameter(&mut self, variable: &Variable, entry: bool) {
        let offset = if entry {
            let offset = align(self.function.parameter_bytes, variable.align);
            self.function.parameter_bytes = offset + variable.bytes;
            self.symbols
                .insert(variable.name.clone(), Symbol::Fixed(Space::Param, u64::from(offset)));
            offset
        } else {
            let at = self.reserve(variable);
            self.symbols.insert(variable.name.clone(), Symbol::Frame(at));
            at
        };
        self.function.parameters.push(Parameter { offset, bytes: variable.bytes });
    }

    /// A place in the frame's local memory.
    fn reserve(&mut self, variable: &Variable) -> u32 {
        let at = align(self.function.local, variable.align);
        self.function.local = at + variable.bytes;
        self.sizes.insert(variable.name.clone(), variable.bytes);
        at
    }

    /// A place in the block's shared memory. A variable without a size is the dynamic part.
    fn shared(&mut self, variable: &Variable) -> Symbol {
        if variable.bytes == 0 {
            return Symbol::Fixed(Space::Shared, DYNAMIC_SHARED);
        }
        let at = align(self.function.shared, variable.align);
        self.function.shared = at + variable.bytes;
        Symbol::Fixed(Space::Shared, u64::from(at))
    }

    pub(super) fn symbol(&mut self, name: &str, line: usize) -> Result<Symbol, Unclear> {
        if let Some(symbol) = self.symbols.get(name) {
            return Ok(*symbol);
        }
        if let Some(address) = self.source.globals.get(name) {
            return Ok(Symbol::Fixed(Space::Global, *address));
        }
        let found = self.source.shared.iter().find(|variable| variable.name == name);
        let Some(variable) = found.cloned() else {
            return Err(Unclear::new(line, format!("{name} is not known")));
        };
        if !self.entry {
            return Err(Unclear::new(line, "shared memory in a device function"));
        }
        let symbol = self.shared(&variable);
        self.symbols.insert(name.to_owned(), symbol);
        Ok(symbol)
    }

    fn directive(&mut self, text: &str, line: usize) -> Result<(), Unclear> {
        if text.starts_with(".pragma") {
            return Ok(());
        }
        if text.starts_with(".reg") {
            let at = text.find(|c: char| c.is_whitespace()).unwrap_or(text.len());
            let mut names = text[at..].trim_start();
            if names.starts_with('.') {
                let at = names.find(|c: char| c.is_whitespace()).unwrap_or(names.len());
                names = &names[at..];
            }
            for name in names.split(',').map(str::trim) {
                match name.split_once('<') {
                    Some((family, count)) => {
                        let count = count.trim_end_matches('>').parse();
                        let count = count.map_err(|_| Unclear::new(line, text))?;
                        self.families.push((family.to_owned(), count));
                    }
                    None => {
                        let slot = self.slot();
                        let scope = self.scopes.last_mut();
                        scope.and_then(|scope| scope.insert(name.to_owned(), slot));
                    }
                }
            }
            return Ok(());
        }
        for variable in variables(text, line)? {
            let symbol = match variable.space.as_str() {
                "local" | "param" => Symbol::Frame(self.reserve(&variable)),
                "shared" if self.entry => self.shared(&variable),
                _ => return Err(Unclear::new(line, text)),
            };
            self.symbols.insert(variable.name, symbol);
        }
        Ok(())
    }

    /// A new register.
    pub(super) fn slot(&mut self) -> Slot {
        self.function.slots += 1;
        self.function.slots - 1
    }

    /// A register that holds a number.
    pub(super) fn constant(&mut self, value: u64) -> Slot {
        if let Some(slot) = self.constants.get(&value) {
            return *slot;
        }
        let slot = self.slot();
        self.constants.insert(value, slot);
        self.function.constants.push((slot, value));
        slot
    }

    /// The register of a name, if it is one.
    fn register(&mut self, name: &str) -> Option<Slot> {
        for scope in self.scopes.iter().rev() {
            if let Some(slot) = scope.get(name) {
                return Some(*slot);
            }
        }
        if let Some(special) = special(name) {
            let slot = self.slot();
            self.function.specials.push((slot, special));
            self.scopes[0].insert(name.to_owned(), slot);
            return Some(slot);
        }
        let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let (family, number) = name.split_at(name.len() - digits);
        let number: u32 = number.parse().ok()?;
        self.families.iter().find(|(f, count)| f == family && number < *count)?;
        let slot = self.slot();
        self.scopes[0].insert(name.to_owned(), slot);
        Some(slot)
    }

    /// The register that an operand is read from: its own, or one for a number or an address.
    pub(super) fn operand(&mut self, text: &str, line: usize) -> Result<Slot, Unclear> {
        if text == "_" {
            return Ok(self.slot());
        }
        if let Some(slot) = self.register(text) {
            return Ok(slot);
        }
        if let Some(value) = immediate(text) {
            return Ok(self.constant(value));
        }
        if text == "WARP_SZ" {
            return Ok(self.constant(32));
        }
        let (name, offset) = match text.split_once('+') {
            Some((name, offset)) => (name.trim(), immediate(offset.trim())),
            None => (text, Some(0)),
        };
        let offset = offset.ok_or_else(|| Unclear::new(line, format!("operand {text}")))?;
        match self.symbol(name, line)? {
            Symbol::Fixed(_, address) => Ok(self.constant(address.wrapping_add(offset))),
            Symbol::Frame(at) => {
                let slot = self.slot();
                let by = self.constant(u64::from(at).wrapping_add(offset));
                let operands = Operands { d: slot, a: LOCAL_BASE, b: by, ..Operands::default() };
                self.compute("add", &["u64"], operands, line)?;
                Ok(slot)
            }
        }
    }

    fn compute(
        &mut self,
        name: &str,
        modifiers: &[&str],
        operands: Operands,
        line: usize,
    ) -> Result<(), Unclear> {
        let compute = arithmetic::compute(name, modifiers);
        let compute = compute.ok_or_else(|| Unclear::new(line, format!("{name} {modifiers:?}")))?;
        self.step(Action::Compute(compute), operands, None, line);
        Ok(())
    }

    pub(super) fn step(
        &mut self,
        action: Action,
        operands: Operands,
        guard: Option<(Slot, bool)>,
        line: usize,
    ) {
        self.function.steps.push(Step { action, operands, guard, line: line as u32 });
    }

    /// The registers of `{%r1, %r2}` or of a single one.
    pub(super) fn lanes(&mut self, text: &str, line: usize) -> Result<Vec<Slot>, Unclear> {
        match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
            None => Ok(vec![self.operand(text, line)?]),
            Some(list) => list.split(',').map(|part| self.operand(part.trim(), line)).collect(),
        }
    }

    /// `[%rd1+8]`, `[name+4]`, `[%rd1]`: the space that the name is in, the register, the offset.
    pub(super) fn address(
        &mut self,
        text: &str,
        line: usize,
    ) -> Result<(Option<Space>, Slot, i64), Unclear> {
        let unclear = || Unclear::new(line, format!("address {text}"));
        let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        let inner = inner.ok_or_else(unclear)?.trim();
        let (base, offset) = match inner.split_once('+') {
            Some((base, offset)) => {
                (base.trim(), immediate(offset.trim()).ok_or_else(unclear)? as i64)
            }
            None => (inner, 0),
        };
        if let Some(slot) = self.register(base) {
            return Ok((None, slot, offset));
        }
        if let Some(value) = immediate(base) {
            return Ok((None, self.constant(value), offset));
        }
        match self.symbol(base, line)? {
            Symbol::Fixed(space, address) => Ok((Some(space), self.constant(address), offset)),
            Symbol::Frame(at) => Ok((Some(Space::Local), LOCAL_BASE, offset + i64::from(at))),
        }
    }

    fn instruction(&mut self, text: &Instruction<'_>, line: usize) -> Result<(), Unclear> {
        let first = self.function.steps.len();
        let guard = match text.guard {
            None => None,
            Some((name, negated)) => {
                let slot = self.register(name);
                let slot = slot.ok_or_else(|| Unclear::new(line, format!("predicate {name}")))?;
                Some((slot, negated))
            }
        };
        let mut parts = text.operation.split('.').filter(|part| !part.is_empty());
        let name = parts.next().unwrap_or_default();
        let modifiers: Vec<&str> = parts.collect();
        let operands = text.operands.as_slice();
        let known = self.decode(name, &modifiers, operands, line)?;
        if !known {
            let what = format!("{} {}", text.operation, text.operands.join(", "));
            return Err(Unclear::new(line, format!("unknown instruction {what}")));
        }
        for step in &mut self.function.steps[first..] {
            step.guard = guard;
        }
        Ok(())
    }

    fn decode(
        &mut self,
        name: &str,
        modifiers: &[&str],
        operands: &[&str],
        line: usize,
    ) -> Result<bool, Unclear> {
        let none = Operands::default();
        match name {
            "ld" | "ldu" | "st" => return self.load_or_store(name, modifiers, operands, line),
            "atom" | "red" => return self.atomic(name, modifiers, operands, line),
            "cvta" => return self.generic_address(modifiers, operands, line),
            "mov" if operands.iter().any(|text| text.starts_with('{')) => {
                return self.pack(modifiers, operands, line);
            }
            "bra" => {
                let [target] = operands else { return Ok(false) };
                self.jumps.push((self.function.steps.len(), (*target).to_owned()));
                self.step(Action::Branch(0), none, None, line);
            }
            "ret" => self.step(Action::Return, none, None, line),
            "exit" => self.step(Action::Exit, none, None, line),
            "trap" | "brkpt" => self.step(Action::Trap, none, None, line),
            "membar" | "fence" | "prefetch" | "prefetchu" | "nanosleep" => {
                self.step(Action::Nothing, none, None, line);
            }
            "bar" | "barrier" if modifiers == ["warp", "sync"] => {
                let mask = self.operand(operands.first().copied().unwrap_or("-1"), line)?;
                self.warp(super::program::Warp::Wait, Operands { e: mask, ..none }, line);
            }
            "bar" | "barrier"
                if (modifiers == ["sync"]
                    || modifiers == ["sync", "aligned"]
                    || modifiers == ["cta", "sync"])
                    && operands == ["0"] =>
            {
                self.function.cooperative = true;
                self.step(Action::Barrier, none, None, line);
            }
            "shfl" | "vote" | "activemask" => {
                return self.exchange(name, modifiers, operands, line);
            }
            "call" => return self.call(operands, line),
            "setp" => return self.set_predicate(modifiers, operands, line),
            "isspacep" => return Ok(false),
            _ => {
                let Some(compute) = arithmetic::compute(name, modifiers) else { return Ok(false) };
                return self.plain(compute, operands, line);
            }
        }
        Ok(true)
    }

    pub(super) fn warp(&mut self, warp: super::program::Warp, operands: Operands, line: usize) {
        self.function.cooperative = true;
        self.step(Action::Warp(warp), operands, None, line);
    }

    fn plain(&mut self, compute: Compute, operands: &[&str], line: usize) -> Result<bool, Unclear> {
        if operands.len() > 5 || operands.is_empty() {
            return Ok(false);
        }
        let mut slots = [0; 5];
        for (slot, text) in slots.iter_mut().zip(operands) {
            if text.starts_with('!') || text.contains('|') {
                return Ok(false);
            }
            *slot = self.operand(text, line)?;
        }
        let [d, a, b, c, e] = slots;
        self.step(Action::Compute(compute), Operands { d, a, b, c, e, f: 0 }, None, line);
        Ok(true)
    }

    fn set_predicate(
        &mut self,
        modifiers: &[&str],
        operands: &[&str],
        line: usize,
    ) -> Result<bool, Unclear> {
        let [results, rest @ ..] = operands else { return Ok(false) };
        let (first, second) = match results.split_once('|') {
            Some((first, second)) => (first.trim(), Some(second.trim())),
            None => (*results, None),
        };
        let compute = match (second, modifiers.len()) {
            (Some(_), 2) => compare::both(modifiers),
            _ => arithmetic::compute("setp", modifiers),
        };
        let Some(compute) = compute else { return Ok(false) };
        let d = self.operand(first, line)?;
        let f = match second {
            Some(name) => self.operand(name, line)?,
            None => self.slot(),
        };
        let mut slots = [0; 3];
        for (slot, text) in slots.iter_mut().zip(rest) {
            if text.starts_with('!') {
                return Ok(false);
            }
            *slot = self.operand(text, line)?;
        }
        let [a, b, c] = slots;
        self.step(Action::Compute(compute), Operands { d, a, b, c, e: 0, f }, None, line);
        Ok(true)
    }

    fn finish(mut self) -> Result<Function, Unclear> {
        let end = self.function.steps.len();
        let last = self.function.steps.last().map_or(0, |step| step.line as usize);
        self.step(Action::Return, Operands::default(), None, last);
        for (step, label) in std::mem::take(&mut self.jumps) {
            let line = self.function.steps[step].line as usize;
            let target = self.labels.get(&label).copied();
            let target = target.ok_or_else(|| Unclear::new(line, format!("label {label}")))?;
            self.function.steps[step].action = Action::Branch(target.min(end as u32));
        }
        self.function.shared = align(self.function.shared, 16);
        self.function.local = align(self.function.local, 16);
        Ok(self.function)
    }

    pub(super) fn access(
        space: Space,
        log: u8,
        signed: bool,
        lanes: &[Slot],
        at: (Slot, i64),
    ) -> Option<Access> {
        let mut slots = [0; 4];
        if lanes.len() > 4 || lanes.len() == 3 {
            return None;
        }
        slots[..lanes.len()].copy_from_slice(lanes);
        Some(Access {
            space,
            log,
            signed,
            count: lanes.len() as u8,
            lanes: slots,
            base: at.0,
            offset: at.1,
        })
    }
}
