//! Tokens of 2,000 texts against transformers, which open_clip agrees with.
//! References: `crates/testing/reference/clip.py`.
#![allow(clippy::unwrap_used)] // helpers of tests

mod common;

use common::{SIGLIP, TOWER, gunzipped, tokenizer};
use taper_networks::{Cleaning, TextTower, Tokens};
use taper_text::{Error, Prompts, Questions, Tokenizer};

#[test]
fn tokens_are_those_of_transformers() {
    let rows: Vec<(String, Vec<u32>)> = serde_json::from_slice(&gunzipped(include_bytes!(
        "../../testing/reference/clip/tokens.json.gz"
    )))
    .unwrap();
    assert_eq!(rows.len(), 2000);
    let tokenizer = tokenizer();
    let mut longest = 0;
    for (text, expected) in rows {
        assert_eq!(tokenizer.tokens(&text).unwrap(), expected, "{text:?}");
        longest = longest.max(expected.len());
    }
    assert_eq!(longest, 77);
}

#[test]
fn texts_of_siglip_are_cleaned_as_they_were_in_its_training() {
    let bytes = gunzipped(include_bytes!("../../testing/reference/siglip/tokens.json.gz"));
    let rows: Vec<(String, Vec<u32>, Vec<u32>)> = serde_json::from_slice(&bytes).unwrap();
    assert!(rows.len() > 1990);
    let bytes = gunzipped(include_bytes!("../../testing/reference/siglip/tokenizer.json.gz"));
    let open = |cleaning| {
        let tokenizer = Tokens { cleaning, ..SIGLIP.tokenizer };
        let tower = TextTower { tokenizer, ..SIGLIP };
        Tokenizer::from_bytes(&bytes, "tokenizer.json".as_ref(), &tower).unwrap()
    };
    let (plain, lower) = (open(Cleaning::Plain), open(Cleaning::Lower));
    let mut longest = 0;
    for (text, canonical, lowered) in rows {
        assert_eq!(plain.tokens(&text).unwrap(), canonical, "{text:?}");
        assert_eq!(lower.tokens(&text).unwrap(), lowered, "{text:?}");
        longest = longest.max(canonical.len());
    }
    assert_eq!(longest, 64);

    // Nothing is left of a name of punctuation, unless that is kept.
    let asked = |tokenizer, name: &str| {
        Questions::new(tokenizer, &["cat".into(), name.into()], &Prompts::default())
    };
    assert!(
        matches!(asked(&plain, "?_!").unwrap_err(), Error::EmptyName { name } if name == "?_!")
    );
    assert!(asked(&lower, "?_!").is_ok());
    assert!(asked(&plain, "?2").is_ok());
}

#[test]
fn a_text_with_a_mark_is_refused() {
    let error = tokenizer().tokens("a cat <|endoftext|> dog").unwrap_err();
    assert!(matches!(&error, Error::Mark { mark, .. } if mark == "<|endoftext|>"), "{error}");
}

#[test]
fn a_wrong_file_says_so() {
    let path = "x/tokenizer.json".as_ref();
    let fail = |bytes: &[u8]| Tokenizer::from_bytes(bytes, path, &TOWER).unwrap_err().to_string();
    let error = fail(b"{}");
    assert!(
        error.contains("'x/tokenizer.json'") && error.contains("tokenizers library"),
        "{error}"
    );
    // One that does not add marks.
    let bytes = gunzipped(include_bytes!("../../testing/reference/clip/tokenizer.json.gz"));
    let mut content: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    content["post_processor"] = serde_json::Value::Null;
    let error = fail(content.to_string().as_bytes());
    assert!(error.contains("'a photo of a cat'") && error.contains("49407]"), "{error}");
    // One with more tokens than the network.
    let small = taper_networks::TextTower { vocabulary: 100, ..TOWER };
    let error = Tokenizer::from_bytes(&bytes, path, &small).unwrap_err().to_string();
    assert!(error.contains("49408 tokens") && error.contains("knows 100"), "{error}");
    let error = Tokenizer::open("nowhere.json", &TOWER).unwrap_err().to_string();
    assert!(error.contains("'nowhere.json'"), "{error}");
}
