//! A local Hub to play with: `cargo run -p taper-testing --example hub -- OWNER/NAME/FILE=PATH …`,
//! then `HF_ENDPOINT=http://127.0.0.1:PORT` for Taper or for Python's huggingface_hub. Ends with
//! the input's end.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::io::Read;

fn main() {
    let server = taper_testing::hub::HubServer::start();
    for argument in std::env::args().skip(1) {
        let (place, path) = argument.split_once('=').expect("OWNER/NAME/FILE=PATH");
        let (repository, file) =
            place.match_indices('/').nth(1).map(|(at, _)| place.split_at(at)).unwrap();
        let digest = server.put(repository, &file[1..], std::fs::read(path).unwrap());
        println!("{place}: SHA-256 {digest}");
    }
    println!("HF_ENDPOINT={}", server.url());
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    for request in server.requests() {
        println!("{} {} {:?} → {}", request.method, request.path, request.range, request.status);
    }
}
