//! After a crash the journal knows what was appended to an index since the last barrier; the file itself holds all that
//! lay behind it, and of the rest any part. Records are taken from the file as far as they go, then from the journal.

use std::fs;
use std::io;
use std::path::Path;

use super::frame::{self, Found, HEADER_BYTES};
use super::load::{failed, parse};
use super::{Head, IndexError, Place, codec, look};
use crate::ids::ObjectId;

/// A record as the journal holds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct RedoRecord {
    /// Of the file that begins with this record; else empty.
    pub(crate) header: Vec<u8>,
    /// As it is appended.
    pub(crate) record: Vec<u8>,
    /// Its number.
    pub(crate) seq: u64,
}

/// What has to be done to an index.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Redone {
    /// Nothing: there is none, and no record of one.
    Nothing,
    /// Its head is to be written.
    Head,
    /// It must become this.
    Anew(Vec<u8>),
}

/// What is to be done to the file at `path`, so that it ends with the last of `records`, which follow each other, and says that the
/// history has come to `head`. If the file begins with the first of them, it is made of them alone, unless it was written anew
/// since: then it is complete up to where that was.
pub(crate) fn redone(path: &Path, object: ObjectId, records: &[RedoRecord], head: Head) -> Result<Redone, IndexError> {
    let Some(first) = records.first() else {
        return match look(path, object).map_err(failed("read", path))? {
            Place::Of(_) => Ok(Redone::Head),
            // Its object says so; what is there is left as it is.
            Place::Nothing | Place::Strange => Ok(Redone::Nothing),
        };
    };
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(failed("read", path)(error)),
    };
    let unbroken = records.windows(2).all(|pair| pair[1].seq == pair[0].seq + 1);
    let mut image = if !first.header.is_empty() && unbroken {
        image(records)
    } else {
        extended(&bytes, object, records).map_err(|why| IndexError::Damaged { path: path.into(), why })?
    };
    // A head alone is written in place.
    let mut bytes = bytes;
    head.put(&mut bytes);
    head.put(&mut image);
    let is_same = image == bytes;
    // Whatever was made of it must make sense as a whole.
    let whole = parse(&image, object).and_then(|(_, good)| match good == image.len() {
        true => Ok(()),
        false => Err("the journal's records do not fit to it".to_owned()),
    });
    whole.map_err(|why| IndexError::Damaged { path: path.into(), why })?;
    Ok(match is_same {
        true => Redone::Head,
        false => Redone::Anew(image),
    })
}

/// These records, one behind the other.
pub(crate) fn image(records: &[RedoRecord]) -> Vec<u8> {
    let mut image = Vec::new();
    for record in records {
        image.extend(&record.header);
        image.extend(&record.record);
    }
    image
}

/// The good records of a file, and after them those of the journal that it lacks.
fn extended(bytes: &[u8], object: ObjectId, records: &[RedoRecord]) -> Result<Vec<u8>, String> {
    let header = bytes.get(..HEADER_BYTES).ok_or("it is missing or cut off")?;
    let mut next = frame::decode_header(header, object)?.first_seq;
    let mut startups = codec::Startups::default();
    let mut at = HEADER_BYTES;
    while let Found::Record { body, seq, bytes } = frame::decode_record(&bytes[at..]) {
        if seq != next || codec::decode(body, &mut startups).is_err() {
            break;
        }
        next += 1;
        at += bytes;
    }
    let mut image = bytes[..at].to_vec();
    for record in records {
        if record.seq > next {
            return Err(format!(
                "it ends before record {next}, and the journal begins with {}",
                record.seq
            ));
        }
        if record.seq == next {
            image.extend(&record.record);
            next += 1;
        }
    }
    Ok(image)
}

#[cfg(test)]
mod tests;
