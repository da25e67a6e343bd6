//! PTX as text: variables, functions and statements, without their meaning.

use std::{borrow::Cow, collections::HashMap};

/// What is wrong with a PTX text, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unclear {
    pub(crate) line: usize,
    pub(crate) what: String,
}

impl Unclear {
    pub(crate) fn new(line: usize, what: impl Into<String>) -> Self {
        Self { line, what: what.into() }
    }
}

/// A variable: in memory or a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) space: String,
    pub(crate) align: u32,
    pub(crate) bytes: u32,
    /// Its initial bytes; missing ones are 0.
    pub(crate) content: Option<Vec<u8>>,
}

/// A function and where its body lies in the text.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    pub(crate) entry: bool,
    pub(crate) results: Vec<Variable>,
    pub(crate) parameters: Vec<Variable>,
    /// Offset and line of what stands between its braces; none if it is declared only.
    pub(crate) body: Option<(std::ops::Range<usize>, usize)>,
}

/// What a text declares.
#[derive(Debug, Default)]
pub(crate) struct Outline {
    pub(crate) variables: Vec<Variable>,
    pub(crate) functions: HashMap<String, Header>,
}

/// The text and its declarations.
pub(super) struct Source {
    pub(super) text: String,
    pub(super) outline: Outline,
    /// Addresses of variables in global and constant memory.
    pub(super) globals: HashMap<String, u64>,
    pub(super) shared: Vec<Variable>,
}

/// The same text with comments replaced by blanks.
pub(crate) fn without_comments(text: &str) -> Cow<'_, str> {
    if !text.contains("//") && !text.contains("/*") {
        return Cow::Borrowed(text);
    }
    let mut bytes = text.as_bytes().to_vec();
    let mut at = 0;
    let mut quoted = false;
    while at + 1 < bytes.len() {
        match (bytes[at], bytes[at + 1]) {
            (b'"', _) => quoted = !quoted,
            (b'/', b'/') if !quoted => {
                while at < bytes.len() && bytes[at] != b'\n' {
                    bytes[at] = b' ';
                    at += 1;
                }
            }
            (b'/', b'*') if !quoted => {
                while at < bytes.len() && !bytes[at..].starts_with(b"*/") {
                    if bytes[at] != b'\n' {
                        bytes[at] = b' ';
                    }
                    at += 1;
                }
                for byte in bytes.iter_mut().skip(at).take(2) {
                    *byte = b' ';
                }
            }
            _ => {}
        }
        at += 1;
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

/// The outline of a text without comments.
pub(crate) fn outline(text: &str) -> Result<Outline, Unclear> {
    let mut outline = Outline::default();
    let bytes = text.as_bytes();
    let (mut at, mut line) = (0, 1);
    while at < bytes.len() {
        if bytes[at].is_ascii_whitespace() {
            line += usize::from(bytes[at] == b'\n');
            at += 1;
            continue;
        }
        let rest = &text[at..];
        if [".version", ".target", ".address_size", ".file"].iter().any(|d| rest.starts_with(d)) {
            at += rest.find('\n').unwrap_or(rest.len());
            continue;
        }
        // To the end of a declaration, or to the body of a function.
        let stop = rest.find([';', '{', '=']).unwrap_or(rest.len());
        let head = &rest[..stop];
        let lines = |text: &str| text.bytes().filter(|&byte| byte == b'\n').count();
        let function = word_of(head, ".entry").or_else(|| word_of(head, ".func"));
        if let Some(place) = function {
            let (name, mut header) = function_header(head, place, line)?;
            line += lines(head);
            at += stop;
            if bytes.get(at) == Some(&b'{') {
                let end = closing(&bytes[at..]).ok_or_else(|| Unclear::new(line, "no end"))?;
                header.body = Some((at + 1..at + end, line));
                line += lines(&text[at..at + end]);
                at += end;
            }
            outline.functions.insert(name, header);
            at += 1;
        } else {
            let end = rest.find(';').ok_or_else(|| Unclear::new(line, "no semicolon"))?;
            let declaration = &rest[..end];
            if !declaration.starts_with(".section") {
                outline.variables.extend(variables(declaration, line)?);
            }
            line += lines(declaration);
            at += end + 1;
        }
    }
    Ok(outline)
}

/// Where a directive occurs as a separate word.
fn word_of(text: &str, word: &str) -> Option<usize> {
    let place = text.find(word)?;
    let after = text.as_bytes().get(place + word.len()).copied().unwrap_or(b' ');
    (after.is_ascii_whitespace() || after == b'(').then_some(place)
}

/// The offset of the brace that closes the first one.
fn closing(bytes: &[u8]) -> Option<usize> {
    let mut depth = 0usize;
    let mut quoted = false;
    for (place, byte) in bytes.iter().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b'{' if !quoted => depth += 1,
            b'}' if !quoted => {
                depth -= 1;
                if depth == 0 {
                    return Some(place);
                }
            }
            _ => {}
        }
    }
    None
}

fn function_header(head: &str, place: usize, line: usize) -> Result<(String, Header), Unclear> {
    let entry = head[place..].starts_with(".entry");
    let mut rest = head[place..].trim_start_matches(".entry").trim_start_matches(".func");
    let list = |rest: &mut &str| -> Result<Vec<Variable>, Unclear> {
        let text = rest.trim_start();
        let Some(inner) = text.strip_prefix('(') else { return Ok(Vec::new()) };
        let end = inner.find(')').ok_or_else(|| Unclear::new(line, "no closing parenthesis"))?;
        *rest = &inner[end + 1..];
        let parts = inner[..end].split(',').filter(|part| !part.trim().is_empty());
        let parts: Vec<_> = parts.map(|part| variables(part, line)).collect::<Result<_, _>>()?;
        Ok(parts.into_iter().flatten().collect())
    };
    let results = list(&mut rest)?;
    rest = rest.trim_start();
    let end = rest.find(|c: char| c.is_whitespace() || c == '(').unwrap_or(rest.len());
    let name = rest[..end].to_owned();
    rest = &rest[end..];
    let parameters = list(&mut rest)?;
    Ok((name, Header { entry, results, parameters, body: None }))
}

/// The bytes of a type, and whether it is a number with sign, a float, or neither: `.u32`, `f16`.
pub(crate) fn type_bytes(name: &str) -> Option<u32> {
    Some(match name.trim_start_matches('.') {
        "b8" | "u8" | "s8" => 1,
        "b16" | "u16" | "s16" | "f16" | "bf16" => 2,
        "b32" | "u32" | "s32" | "f32" | "f16x2" | "bf16x2" => 4,
        "b64" | "u64" | "s64" | "f64" => 8,
        _ => return None,
    })
}

/// `.global .align 4 .b8 name[24] = {1, 2}`, `.param .u64 name`, `.local .align 8 .b8 name[16]`.
pub(crate) fn variables(declaration: &str, line: usize) -> Result<Vec<Variable>, Unclear> {
    let unclear = || Unclear::new(line, format!("declaration {}", declaration.trim()));
    let (head, content) = match declaration.split_once('=') {
        Some((head, content)) => (head, Some(content)),
        None => (declaration, None),
    };
    let mut words = head.split_whitespace().peekable();
    let (mut space, mut align, mut size) = (String::new(), 0, None);
    while let Some(word) = words.next_if(|word| word.starts_with('.')) {
        for word in word[1..].split('.') {
            match word {
                "align" => {
                    let number = words.next().and_then(|word| word.parse().ok());
                    align = number.ok_or_else(unclear)?;
                }
                "global" | "const" | "shared" | "local" | "param" | "reg" => {
                    if space.is_empty() {
                        word.clone_into(&mut space);
                    }
                }
                "extern" | "visible" | "weak" | "common" | "ptr" | "managed" => {}
                "pred" => size = Some(1),
                word => size = Some(type_bytes(word).ok_or_else(unclear)?),
            }
        }
    }
    let size = size.ok_or_else(unclear)?;
    let names: String = words.collect::<Vec<_>>().join(" ");
    let one = |name: &str| {
        let (name, elements) = match name.split_once('[') {
            None => (name, Some(1)),
            Some((name, count)) => {
                let count = count.trim_end().trim_end_matches(']').trim();
                (name, if count.is_empty() { Some(0) } else { count.parse::<u32>().ok() })
            }
        };
        let name = name.trim().to_owned();
        let bytes = size * elements.ok_or_else(unclear)?;
        let content = content.map(|text| bytes_of(text, size, line)).transpose()?;
        let space = space.clone();
        Ok(Variable { name, space, align: align.max(size), bytes, content })
    };
    names.split(',').map(one).collect()
}

fn bytes_of(list: &str, size: u32, line: usize) -> Result<Vec<u8>, Unclear> {
    let list = list.trim().trim_start_matches('{').trim_end_matches('}');
    let mut bytes = Vec::new();
    for number in list.split(',').map(str::trim).filter(|number| !number.is_empty()) {
        let value =
            immediate(number).ok_or_else(|| Unclear::new(line, format!("number {number}")))?;
        bytes.extend_from_slice(&value.to_le_bytes()[..size as usize]);
    }
    Ok(bytes)
}

/// A number in a text: `12`, `-1`, `0x1F`, `0U`, `0f3F800000`, `0d3FF0000000000000`.
pub(crate) fn immediate(text: &str) -> Option<u64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let digits = digits.trim_end_matches(['U', 'u']);
    let radix = |prefix: [&str; 2]| prefix.into_iter().find_map(|p| digits.strip_prefix(p));
    let value = if let Some(bits) = radix(["0f", "0F"]) {
        u64::from(u32::from_str_radix(bits, 16).ok()?)
    } else if let Some(bits) = radix(["0d", "0D"]).or_else(|| radix(["0x", "0X"])) {
        u64::from_str_radix(bits, 16).ok()?
    } else {
        digits.parse::<u64>().ok()?
    };
    Some(if negative { value.wrapping_neg() } else { value })
}

/// A statement of a function's body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Statement<'a> {
    /// `{` and `}`: names of registers end with them.
    Open,
    Close,
    Label(&'a str),
    /// `.reg .b32 %r<10>` and other declarations.
    Directive(&'a str),
    Instruction(Instruction<'a>),
}

/// `@!%p1 add.rn.f32 %f1, %f2, 0f00000000`
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Instruction<'a> {
    pub(crate) guard: Option<(&'a str, bool)>,
    pub(crate) operation: &'a str,
    pub(crate) operands: Vec<&'a str>,
}

/// The statements of a body, each with its line.
pub(crate) fn statements(body: &str, first: usize) -> Result<Vec<(usize, Statement<'_>)>, Unclear> {
    let bytes = body.as_bytes();
    let mut statements = Vec::new();
    let (mut at, mut line) = (0, first);
    while at < bytes.len() {
        match bytes[at] {
            b'\n' => {
                line += 1;
                at += 1;
            }
            byte if byte.is_ascii_whitespace() || byte == b';' => at += 1,
            b'{' => {
                statements.push((line, Statement::Open));
                at += 1;
            }
            b'}' => {
                statements.push((line, Statement::Close));
                at += 1;
            }
            _ => {
                let rest = &body[at..];
                if rest.starts_with(".file")
                    || rest.strip_prefix(".loc").is_some_and(|r| r.starts_with([' ', '\t']))
                {
                    at += rest.find('\n').unwrap_or(rest.len());
                    continue;
                }
                let word = rest.find(|c: char| c.is_whitespace() || ";:".contains(c));
                let word = word.unwrap_or(rest.len());
                if rest[word..].starts_with(':') && !rest[word..].starts_with("::") {
                    statements.push((line, Statement::Label(&rest[..word])));
                    at += word + 1;
                    continue;
                }
                let end = rest.find(';').ok_or_else(|| Unclear::new(line, "no semicolon"))?;
                let text = rest[..end].trim();
                let statement = if text.starts_with('.') {
                    Statement::Directive(text)
                } else {
                    Statement::Instruction(instruction(text))
                };
                statements.push((line, statement));
                line += rest[..end].bytes().filter(|&byte| byte == b'\n').count();
                at += end + 1;
            }
        }
    }
    Ok(statements)
}

fn instruction(text: &str) -> Instruction<'_> {
    let (guard, text) = match text.strip_prefix('@') {
        None => (None, text),
        Some(rest) => {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let name = &rest[..end];
            let plain = name.trim_start_matches('!');
            (Some((plain, plain.len() < name.len())), rest[end..].trim_start())
        }
    };
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    let (operation, rest) = text.split_at(end);
    Instruction { guard, operation, operands: split(rest) }
}

/// Splits at the commas outside brackets.
pub(crate) fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0i32, 0);
    for (place, byte) in text.bytes().enumerate() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth -= 1,
            b',' if depth == 0 => {
                parts.push(text[start..place].trim());
                start = place + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts.retain(|part| !part.is_empty());
    parts
}
