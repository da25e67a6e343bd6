//! The part of Python's pickle format that torch's weight checkpoints need, read without executing
//! anything.
//!
//! A pickle is a program for a stack machine that may call any function of any Python module. Here,
//! a name of a function is only a name: the few that build tensors are understood, and all others
//! are refused. Values live in an arena, so that even the deepest nesting uses no stack; their
//! number is limited, so that a small file cannot fill the memory.
//!
//! Follows `Lib/pickletools.py` of CPython (opcodes) and `torch/serialization.py`,
//! `torch/_utils.py` (tensors).

use std::collections::HashMap;

/// More values than any checkpoint has: the largest networks have some ten thousand tensors.
const MOST_VALUES: usize = 1 << 22;

/// A value; anything larger than a number is in the arena.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value {
    None,
    Bool,
    Int(i64),
    Float,
    /// Position and length in the pickle's bytes.
    Text(u32, u32),
    /// Start and length in [`Arena::sequences`].
    Tuple(u32, u32),
    List(u32),
    Dict(u32),
    Global(Global),
    Storage(u32),
    Tensor(u32),
}

/// The names that are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Size,
    /// A storage class, i.e. a number type.
    Storage(Number),
    /// A `torch.dtype`.
    Type,
}

/// A type of number of torch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Number {
    F64,
    F32,
    F16,
    Bf16,
    I64,
    I32,
    I16,
    I8,
    U8,
    Bool,
}

impl Number {
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// The name in the safetensors format.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::F64 => "F64",
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::I64 => "I64",
            Self::I32 => "I32",
            Self::I16 => "I16",
            Self::I8 => "I8",
            Self::U8 => "U8",
            Self::Bool => "BOOL",
        }
    }
}

/// A block of numbers outside the pickle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Storage {
    pub(crate) number: Number,
    /// Its name, in the pickle's bytes.
    pub(crate) key: (u32, u32),
    /// How many numbers.
    pub(crate) count: u64,
}

/// A view of a storage.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TensorView {
    pub(crate) storage: Storage,
    /// In numbers.
    pub(crate) offset: u64,
    pub(crate) shape: Vec<u64>,
    /// In numbers.
    pub(crate) strides: Vec<u64>,
}

/// What a pickle builds.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    pub(crate) sequences: Vec<Value>,
    pub(crate) lists: Vec<Vec<Value>>,
    pub(crate) dicts: Vec<Vec<(Value, Value)>>,
    pub(crate) storages: Vec<Storage>,
    pub(crate) tensors: Vec<TensorView>,
}

/// One pickle: its value, and how many bytes it takes.
#[derive(Debug)]
pub(crate) struct Unpickled {
    pub(crate) value: Value,
    pub(crate) arena: Arena,
    pub(crate) length: usize,
}

/// Runs the pickle at the start of `bytes`.
///
/// # Errors
/// A description of what is wrong, or which foreign name it refers to.
pub(crate) fn unpickle(bytes: &[u8]) -> Result<Unpickled, String> {
    // Positions are stored in 32 bits.
    let bytes = bytes.get(..u32::MAX as usize).unwrap_or(bytes);
    let mut machine = Machine {
        bytes,
        at: 0,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        arena: Arena::default(),
        values: 0,
    };
    let value = machine.run()?;
    Ok(Unpickled { value, arena: machine.arena, length: machine.at })
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    arena: Arena,
    /// How many have been made.
    values: usize,
}

type Step<T = ()> = Result<T, String>;

impl<'a> Machine<'a> {
    fn take(&mut self, count: usize) -> Step<&'a [u8]> {
        let end = self.at.checked_add(count);
        let part = end.and_then(|end| self.bytes.get(self.at..end));
        let part = part.ok_or("the pickle ends in the middle")?;
        self.at += count;
        Ok(part)
    }

    fn byte(&mut self) -> Step<u8> {
        Ok(self.take(1)?[0])
    }

    /// A little-endian number of up to eight bytes.
    fn number(&mut self, count: usize) -> Step<u64> {
        Ok(self.take(count)?.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte)))
    }

    fn line(&mut self) -> Step<&'a str> {
        let rest = &self.bytes[self.at..];
        let length =
            rest.iter().position(|b| *b == b'\n').ok_or("a line of the pickle has no end")?;
        let line = self.take(length)?;
        self.at += 1;
        std::str::from_utf8(line).map_err(|_| "a name in the pickle is not UTF-8".into())
    }

    fn text(&mut self, length: u64) -> Step<Value> {
        let start = self.at as u32;
        let length = usize::try_from(length).map_err(|_| "a string is longer than the pickle")?;
        let text = self.take(length)?;
        std::str::from_utf8(text).map_err(|_| "a text in the pickle is not UTF-8")?;
        Ok(Value::Text(start, length as u32))
    }

    /// One more value is kept somewhere.
    fn count(&mut self) -> Step {
        self.values += 1;
        if self.values > MOST_VALUES {
            return Err(format!("the pickle makes more than {MOST_VALUES} values"));
        }
        Ok(())
    }

    fn push(&mut self, value: Value) -> Step {
        self.count()?;
        self.stack.push(value);
        Ok(())
    }

    fn pop(&mut self) -> Step<Value> {
        if self.marks.last().is_some_and(|mark| *mark >= self.stack.len()) {
            return Err("the pickle takes more from its stack than there is".into());
        }
        self.stack.pop().ok_or_else(|| "the pickle takes more from its stack than there is".into())
    }

    fn top(&self) -> Step<Value> {
        self.stack.last().copied().ok_or_else(|| "the pickle reads an empty stack".into())
    }

    /// Everything above the last mark.
    fn marked(&mut self) -> Step<Vec<Value>> {
        let mark = self.marks.pop().ok_or("a mark is missing from the pickle's stack")?;
        if mark > self.stack.len() {
            return Err("the pickle's stack is below its mark".into());
        }
        Ok(self.stack.split_off(mark))
    }

    fn tuple(&mut self, values: &[Value]) -> Step {
        self.values += values.len();
        let start = self.arena.sequences.len() as u32;
        self.arena.sequences.extend_from_slice(values);
        self.push(Value::Tuple(start, values.len() as u32))
    }

    fn sequence(&self, value: Value) -> Step<&[Value]> {
        match value {
            Value::Tuple(start, length) => {
                Ok(&self.arena.sequences[start as usize..][..length as usize])
            }
            Value::List(list) => Ok(&self.arena.lists[list as usize]),
            _ => Err("the pickle has another value where a tuple is expected".into()),
        }
    }

    fn dict(&mut self) -> Step {
        self.arena.dicts.push(Vec::new());
        self.push(Value::Dict(self.arena.dicts.len() as u32 - 1))
    }

    fn run(&mut self) -> Step<Value> {
        loop {
            let code = self.byte()?;
            match code {
                b'.' => return self.pop(),
                0x80 => {
                    self.byte()?;
                }
                // A frame: its length is not needed.
                0x95 => {
                    self.take(8)?;
                }
                b'(' => {
                    if self.marks.len() > MOST_VALUES {
                        return Err("the pickle has too many marks".into());
                    }
                    self.marks.push(self.stack.len());
                }
                b'0' => {
                    self.pop()?;
                }
                b'1' => {
                    self.marked()?;
                }
                b'2' => self.push(self.top()?)?,
                b'N' | 0x88 | 0x89 | b'J' | b'K' | b'M' | 0x8a | b'G' | b'X' | b'T' | 0x8c
                | b'U' | 0x8d => {
                    let value = self.atom(code)?;
                    self.push(value)?;
                }
                b')' => self.tuple(&[])?,
                0x85..=0x87 => {
                    let mut values = Vec::new();
                    for _ in 0x84..code {
                        values.insert(0, self.pop()?);
                    }
                    self.tuple(&values)?;
                }
                b't' => {
                    let values = self.marked()?;
                    self.tuple(&values)?;
                }
                b']' | b'a' | b'e' | b'}' | b's' | b'u' => self.collection(code)?,
                b'q' => {
                    let slot = self.number(1)? as u32;
                    self.remember(slot)?;
                }
                b'r' => {
                    let slot = self.number(4)? as u32;
                    self.remember(slot)?;
                }
                0x94 => self.remember(self.memo.len() as u32)?,
                b'h' | b'j' => {
                    let slot = self.number(if code == b'h' { 1 } else { 4 })? as u32;
                    let value = self.memo.get(&slot).copied();
                    self.push(value.ok_or("the pickle reads a value that it never stored")?)?;
                }
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.push(Value::Global(global(module, name)?))?;
                }
                0x93 => {
                    let (name, module) = (self.pop()?, self.pop()?);
                    let global = global(self.str(module)?, self.str(name)?)?;
                    self.push(Value::Global(global))?;
                }
                b'Q' => {
                    let id = self.pop()?;
                    let storage = self.storage(id)?;
                    self.arena.storages.push(storage);
                    self.push(Value::Storage(self.arena.storages.len() as u32 - 1))?;
                }
                b'R' | 0x81 => {
                    let (arguments, function) = (self.pop()?, self.pop()?);
                    self.call(function, arguments)?;
                }
                // The attributes of an object, e.g. the versions of a state_dict's modules: not
                // needed.
                b'b' => {
                    self.pop()?;
                    match self.top()? {
                        Value::Dict(_) | Value::Tensor(_) => {}
                        _ => return Err("the pickle sets attributes of an object".into()),
                    }
                }
                other => {
                    return Err(format!(
                        "the pickle has the instruction 0x{other:02x}, which no weights need"
                    ));
                }
            }
        }
    }

    /// A number, a string, or neither.
    fn atom(&mut self, code: u8) -> Step<Value> {
        Ok(match code {
            0x88 | 0x89 => Value::Bool,
            b'J' => Value::Int((self.number(4)? as u32 as i32).into()),
            b'K' => Value::Int(self.number(1)? as i64),
            b'M' => Value::Int(self.number(2)? as i64),
            0x8a => {
                let length = self.byte()? as usize;
                self.long(length)?
            }
            b'G' => {
                self.take(8)?;
                Value::Float
            }
            b'X' | b'T' => {
                let length = self.number(4)?;
                self.text(length)?
            }
            0x8c | b'U' => {
                let length = self.number(1)?;
                self.text(length)?
            }
            0x8d => {
                let length = self.number(8)?;
                self.text(length)?
            }
            _ => Value::None,
        })
    }

    /// Begins a list or a dictionary, or adds to one.
    fn collection(&mut self, code: u8) -> Step {
        match code {
            b']' => {
                self.arena.lists.push(Vec::new());
                self.push(Value::List(self.arena.lists.len() as u32 - 1))
            }
            b'a' | b'e' => {
                let values = if code == b'a' { vec![self.pop()?] } else { self.marked()? };
                let Value::List(list) = self.top()? else {
                    return Err("the pickle appends to something that is not a list".into());
                };
                self.arena.lists[list as usize].extend(values);
                Ok(())
            }
            b's' | b'u' => {
                let values = if code == b's' {
                    let value = self.pop()?;
                    vec![self.pop()?, value]
                } else {
                    self.marked()?
                };
                let Value::Dict(dict) = self.top()? else {
                    return Err(
                        "the pickle sets items of something that is not a dictionary".into()
                    );
                };
                let (pairs, rest) = values.as_chunks::<2>();
                if !rest.is_empty() {
                    return Err("the pickle has a key without its value".into());
                }
                self.arena.dicts[dict as usize].extend(pairs.iter().map(|[k, v]| (*k, *v)));
                Ok(())
            }
            _ => self.dict(),
        }
    }

    fn long(&mut self, length: usize) -> Step<Value> {
        if length > 8 {
            // The magic number of torch's old format has ten bytes; its value is not needed.
            self.take(length)?;
            return Ok(Value::None);
        }
        let number = self.number(length)?;
        let unused = 64 - 8 * length as u32;
        Ok(Value::Int(if length == 0 { 0 } else { ((number << unused) as i64) >> unused }))
    }

    fn remember(&mut self, slot: u32) -> Step {
        self.count()?;
        self.memo.insert(slot, self.top()?);
        Ok(())
    }

    fn str(&self, value: Value) -> Step<&'a str> {
        let Value::Text(start, length) = value else {
            return Err("the pickle has another value where a string is expected".into());
        };
        let bytes = &self.bytes[start as usize..][..length as usize];
        std::str::from_utf8(bytes).map_err(|_| "a text in the pickle is not UTF-8".into())
    }

    /// `("storage", class, key, place, count)` and, in the old format, the storage that it is a
    /// view of.
    fn storage(&self, id: Value) -> Step<Storage> {
        let odd = || String::from("the pickle refers to something that is not a tensor storage");
        let parts = self.sequence(id)?;
        let (kind, rest) = parts.split_first().ok_or_else(odd)?;
        if self.str(*kind)? != "storage" {
            return Err(odd());
        }
        match rest {
            [
                Value::Global(Global::Storage(number)),
                Value::Text(start, length),
                _place,
                Value::Int(count),
                view @ ..,
            ] if view.iter().all(|v| *v == Value::None) => Ok(Storage {
                number: *number,
                key: (*start, *length),
                count: u64::try_from(*count).map_err(|_| odd())?,
            }),
            _ => Err(odd()),
        }
    }

    fn call(&mut self, function: Value, arguments: Value) -> Step {
        let Value::Global(function) = function else {
            return Err("the pickle calls something that is not a function".into());
        };
        match function {
            Global::OrderedDict => {
                let pairs = match self.sequence(arguments)? {
                    [] => Vec::new(),
                    [pairs] => self.sequence(*pairs)?.to_vec(),
                    _ => return Err("an OrderedDict has unexpected arguments".into()),
                };
                let pair = |pair: Value| match self.sequence(pair)? {
                    [key, value] => Ok((*key, *value)),
                    _ => Err(String::from("an OrderedDict has unexpected arguments")),
                };
                let pairs = pairs.into_iter().map(pair).collect::<Step<Vec<_>>>()?;
                // A list may be copied again and again: each copy counts.
                self.values += pairs.len();
                self.dict()?;
                if let Some(dict) = self.arena.dicts.last_mut() {
                    *dict = pairs;
                }
                Ok(())
            }
            Global::RebuildTensor => {
                let odd = || String::from("a tensor has unexpected arguments");
                let [Value::Storage(storage), Value::Int(offset), shape, strides, ..] =
                    *self.sequence(arguments)?
                else {
                    return Err(odd());
                };
                let sizes = |value: Value| {
                    let number = |value: &Value| match value {
                        Value::Int(n) => u64::try_from(*n).map_err(|_| odd()),
                        _ => Err(odd()),
                    };
                    self.sequence(value)?.iter().map(number).collect::<Step<Vec<u64>>>()
                };
                let view = TensorView {
                    storage: self.arena.storages[storage as usize],
                    offset: u64::try_from(offset).map_err(|_| odd())?,
                    shape: sizes(shape)?,
                    strides: sizes(strides)?,
                };
                self.values += view.shape.len() + view.strides.len();
                self.arena.tensors.push(view);
                self.push(Value::Tensor(self.arena.tensors.len() as u32 - 1))
            }
            Global::RebuildParameter => match *self.sequence(arguments)? {
                [tensor @ Value::Tensor(_), ..] => self.push(tensor),
                _ => Err("a parameter has unexpected arguments".into()),
            },
            Global::Size => match *self.sequence(arguments)? {
                [sizes] => self.push(sizes),
                _ => Err("a size has unexpected arguments".into()),
            },
            Global::Storage(_) | Global::Type => Err("the pickle calls a type".into()),
        }
    }
}

/// # Errors
/// Names everything that is not needed for weights.
fn global(module: &str, name: &str) -> Step<Global> {
    let number = |name: &str| {
        Some(match name {
            "DoubleStorage" => Number::F64,
            "FloatStorage" => Number::F32,
            "HalfStorage" => Number::F16,
            "BFloat16Storage" => Number::Bf16,
            "LongStorage" => Number::I64,
            "IntStorage" => Number::I32,
            "ShortStorage" => Number::I16,
            "CharStorage" => Number::I8,
            "ByteStorage" => Number::U8,
            "BoolStorage" => Number::Bool,
            _ => return None,
        })
    };
    let known = match (module, name) {
        ("collections", "OrderedDict") => Some(Global::OrderedDict),
        ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor") => Some(Global::RebuildTensor),
        ("torch._utils", "_rebuild_parameter") => Some(Global::RebuildParameter),
        ("torch", "Size") => Some(Global::Size),
        ("torch", "float32" | "float16" | "bfloat16" | "float64") => Some(Global::Type),
        ("torch", storage) => number(storage).map(Global::Storage),
        _ => None,
    };
    known.ok_or_else(|| {
        // The name comes from the file: shortened, and without control characters.
        let shown = |c: &char| !c.is_control();
        let clean = |text: &str| text.chars().filter(shown).take(80).collect::<String>();
        format!(
            "it refers to {}.{}, which weights do not need: a checkpoint can run arbitrary code, so only tensors are read",
            clean(module),
            clean(name)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(bytes: &[u8]) -> String {
        unpickle(bytes).unwrap_err()
    }

    #[test]
    fn foreign_names_are_refused_by_name() {
        // pickle.dumps(os.system), protocols 0 and 4, and a call of it.
        assert!(refusal(b"cposix\nsystem\n.").contains("posix.system"));
        assert!(
            refusal(b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.")
                .contains("posix.system")
        );
        assert!(refusal(b"cposix\nsystem\n(S'rm -rf'\ntR.").contains("posix.system"));
        assert!(refusal(b"cbuiltins\neval\n.").contains("builtins.eval"));
        assert!(refusal(b"ctorch\nload\n.").contains("torch.load"));
    }

    #[test]
    fn nonsense_is_refused() {
        for bytes in [
            &b""[..],
            b".",
            b"(",
            b"t.",
            b"\x80",
            b"N(0.",
            b"h\x05.",
            b"NNs.",
            b"}NNNe.",
            b"}(Nu.",
            b"NR.",
            b"NQ.",
            b")Q.",
            b"X\xff\xff\xff\x7fab.",
            b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffab.",
            b"ctorch\nFloatStorage\n)R.",
            b"ctorch._utils\n_rebuild_tensor_v2\n)R.",
            b"ccollections\nOrderedDict\nN\x85R.",
            b"\xff.",
        ] {
            let text = refusal(bytes);
            assert!(!text.is_empty(), "{bytes:?}");
        }
    }

    #[test]
    fn deep_nesting_and_endless_values_end_well() {
        let mut deep = b")".to_vec();
        deep.extend([0x85; 1_000_000]);
        deep.push(b'.');
        unpickle(&deep).unwrap();
        let many = vec![b'N'; MOST_VALUES + 1];
        assert!(refusal(&many).contains("more than"));
        let kept: Vec<u8> = b"N".iter().copied().chain(vec![0x94; MOST_VALUES]).collect();
        assert!(refusal(&kept).contains("more than"));
        let doubled: Vec<u8> = b"N".iter().copied().chain([b'2'; 100]).chain([b'.']).collect();
        unpickle(&doubled).unwrap();
    }

    #[test]
    fn numbers_are_read_as_python_writes_them() {
        let value = |bytes: &[u8]| unpickle(bytes).unwrap().value;
        assert_eq!(value(b"J\xff\xff\xff\xff."), Value::Int(-1));
        assert_eq!(value(b"K\xff."), Value::Int(255));
        assert_eq!(value(b"M\x00\x01."), Value::Int(256));
        assert_eq!(value(b"\x8a\x00."), Value::Int(0));
        assert_eq!(value(b"\x8a\x01\xff."), Value::Int(-1));
        assert_eq!(value(b"\x8a\x05\x00\x00\x00\x00\x01."), Value::Int(1 << 32));
    }
}
