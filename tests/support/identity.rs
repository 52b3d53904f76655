//! Object ids are derived here from the specification alone (S3), never by asking the host.

use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// 64 hex digits: the id of the object called `name` in a namespace with this unique key.
pub(crate) fn object_id(unique_key: &str, name: &str) -> String {
    let key = Sha256::digest(unique_key.as_bytes());
    let base = &hmac(&key, name.as_bytes())[..16];
    let check = &hmac(&key, base)[..16];
    hex::encode(base) + &hex::encode(check)
}

/// The directory of an object's files, by its id.
pub(crate) fn home(data: &Path, namespace: &str, id: &str) -> PathBuf {
    data.join(namespace).join(&id[..2])
}

/// The digest that identifies a class.
pub(crate) fn class_digest(component: &[u8]) -> String {
    hex::encode(Sha256::digest(component))
}

fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text);
    mac.finalize().into_bytes().into()
}
