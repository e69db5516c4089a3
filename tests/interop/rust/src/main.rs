//! Uploads one file with tus_client and tells in JSON lines what happens.
//!
//! Arguments are `name=value`: endpoint or url (of an upload that exists), file, chunk (bytes of
//! one request), override=1, terminate=1 (create and delete) and `metadata.NAME`. The library says
//! that `upload` goes on where an interrupted one ended, so a failed one is called again.

use std::collections::HashMap;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;
use tus_client::{Client, Error};

const PAUSES_MILLISECONDS: [u64; 8] = [0, 100, 200, 400, 800, 1600, 3200, 3200];

fn tell(event: &str, name: &str, value: &str) {
    println!("{{\"event\": \"{}\", \"{}\": {:?}}}", event, name, value);
}

fn main() {
    let given: HashMap<String, String> = std::env::args()
        .skip(1)
        .filter_map(|one| one.split_once('=').map(|(name, value)| (name.into(), value.into())))
        .collect();
    if let Err(error) = upload(&given) {
        tell("error", "message", &error.to_string());
        std::process::exit(1);
    }
}

fn upload(given: &HashMap<String, String>) -> Result<(), Error> {
    let http = reqwest::Client::new();
    let client = match given.get("override") {
        Some(_) => Client::with_method_override(http),
        None => Client::new(http),
    };
    let file = Path::new(&given["file"]);
    let url = match given.get("url") {
        Some(url) => url.clone(),
        None => {
            let metadata = given
                .iter()
                .filter_map(|(name, value)| Some((name.strip_prefix("metadata.")?, value)))
                .map(|(name, value)| (name.to_owned(), value.clone()))
                .collect();
            client.create_with_metadata(&given["endpoint"], file, metadata)?
        }
    };
    tell("created", "uploadUrl", &url);
    if given.contains_key("terminate") {
        client.delete(&url)?;
        tell("cancelled", "uploadUrl", &url);
        return Ok(());
    }
    let chunk = given.get("chunk").map(|text| text.parse().expect("a number"));
    let mut pauses = PAUSES_MILLISECONDS.iter();
    loop {
        let done = match chunk {
            Some(size) => client.upload_with_chunk_size(&url, file, size),
            None => client.upload(&url, file),
        };
        match (done, pauses.next()) {
            (Ok(()), _) => break,
            (Err(Error::FileReadError), _) => return Err(Error::FileReadError),
            (Err(error), None) => return Err(error),
            (Err(error), Some(&pause)) => {
                tell("broken", "message", &error.to_string());
                sleep(Duration::from_millis(pause));
            }
        }
    }
    tell("success", "uploadUrl", &url);
    Ok(())
}
