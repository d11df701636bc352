//! Cases inside a component: it brings its own tests, and a sidecar asks them before it takes a new version.
//!
//! Owns the custom section that they lie in. A component is a preamble and sections (the component model's binary format,
//! `Binary.md`); one of id 0 is custom, has a name, and changes nothing about what the component does.

/// The name of the section; a file of cases each.
const SECTION: &str = "sidelock:cases";
/// Magic, version and layer.
const PREAMBLE_BYTES: usize = 8;
const CUSTOM: u8 = 0;

/// The component with one more file of cases in it.
pub fn embed(mut component: Vec<u8>, file: &str, text: &str) -> Vec<u8> {
    let mut section = Vec::with_capacity(SECTION.len() + file.len() + text.len() + 16);
    put_text(&mut section, SECTION);
    put_text(&mut section, file);
    section.extend_from_slice(text.as_bytes());
    component.push(CUSTOM);
    put_number(&mut component, section.len());
    component.extend_from_slice(&section);
    component
}

/// The files of cases in it, each with its name. What is cut off or no UTF-8 is passed over: whoever loads the component
/// will say what is wrong with it.
pub fn embedded(component: &[u8]) -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut rest = component.get(PREAMBLE_BYTES..).unwrap_or_default();
    while let Some((id, body)) = take_section(&mut rest) {
        files.extend((id == CUSTOM).then(|| file_in(body)).flatten());
    }
    files
}

fn file_in(mut body: &[u8]) -> Option<(String, String)> {
    if take_text(&mut body)? != SECTION {
        return None;
    }
    let name = take_text(&mut body)?.to_owned();
    Some((name, str::from_utf8(body).ok()?.to_owned()))
}

fn take_section<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&id, mut after) = rest.split_first()?;
    let len = take_number(&mut after)?;
    let (body, after) = after.split_at_checked(len)?;
    *rest = after;
    Some((id, body))
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let len = take_number(rest)?;
    let (text, after) = rest.split_at_checked(len)?;
    *rest = after;
    str::from_utf8(text).ok()
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_number(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// LEB128, 32 bits.
fn take_number(rest: &mut &[u8]) -> Option<usize> {
    let mut number = 0_u32;
    for place in 0..5 {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        number |= u32::from(byte & 0x7f).checked_shl(place * 7)?;
        if byte & 0x80 == 0 {
            return usize::try_from(number).ok();
        }
    }
    None
}

fn put_number(out: &mut Vec<u8>, mut number: usize) {
    while number > 0x7f {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest component: nothing but a preamble.
    const EMPTY: [u8; 8] = [0, 0x61, 0x73, 0x6d, 0x0d, 0, 1, 0];

    #[test]
    fn what_was_put_in_comes_out() {
        let long = "x".repeat(300);
        let component = embed(embed(EMPTY.to_vec(), "a.case.toml", "one"), "b.case.toml", &long);
        let files = [("a.case.toml".to_owned(), "one".to_owned()), ("b.case.toml".to_owned(), long)];
        assert_eq!(embedded(&component), files);
        assert!(embedded(&EMPTY).is_empty());
    }

    #[test]
    fn a_component_with_cases_is_still_a_component() {
        let engine = wasmtime::Engine::default();
        let component = embed(EMPTY.to_vec(), "a.case.toml", "[[case]]");
        assert!(wasmtime::component::Component::new(&engine, component).is_ok());
    }

    #[test]
    fn no_bytes_are_too_odd_to_be_looked_at() {
        let component = embed(EMPTY.to_vec(), "a.case.toml", "one");
        for len in 0..component.len() {
            assert!(embedded(&component[..len]).is_empty(), "{len}");
        }
        assert!(embedded(&[&EMPTY[..], &[0, 0xff, 0xff, 0xff, 0xff, 0x0f]].concat()).is_empty());
        assert!(embedded(&[&EMPTY[..], &[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]].concat()).is_empty());
    }
}
