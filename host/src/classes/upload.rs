//! A component on its way in, piece by piece, never more than the limit of it in memory.

use crate::error::CallError;
use crate::limits::{COMPONENT_BYTES_MAX, PIECE_BYTES_MAX};

/// `classes.upload`.
#[derive(Debug, Default)]
#[allow(unreachable_pub, reason = "generated code names it; its module is private")]
pub struct Upload {
    bytes: Vec<u8>,
}

impl Upload {
    pub(crate) fn write(&mut self, piece: &[u8]) -> Result<(), CallError> {
        if piece.len() > PIECE_BYTES_MAX {
            return Err(CallError::limit(
                "piece",
                format!("a piece has at most {PIECE_BYTES_MAX} bytes"),
            ));
        }
        if self.bytes.len() + piece.len() > COMPONENT_BYTES_MAX {
            self.bytes = Vec::new();
            return Err(CallError::limit(
                "component",
                format!("a component has at most {COMPONENT_BYTES_MAX} bytes"),
            ));
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_has_so_many_bytes_and_a_piece_of_it_so_many() {
        let code = |written: Result<(), CallError>| written.map_err(|error| error.code).err().unwrap_or_default();
        let piece = vec![0; PIECE_BYTES_MAX + 1];
        let mut upload = Upload::default();
        assert_eq!(code(upload.write(&piece)), "piece");
        upload.write(&piece[..PIECE_BYTES_MAX - 1]).unwrap();
        upload.write(&piece[..1]).unwrap();
        for _ in 2..COMPONENT_BYTES_MAX / PIECE_BYTES_MAX {
            upload.write(&piece[..PIECE_BYTES_MAX]).unwrap();
        }
        upload.write(&piece[..PIECE_BYTES_MAX - 1]).unwrap();
        upload.write(&piece[..1]).unwrap();
        assert_eq!(upload.bytes.len(), COMPONENT_BYTES_MAX);
        assert_eq!(code(upload.write(&piece[..1])), "component");
        assert!(upload.into_bytes().is_empty(), "what is refused is not kept");
    }
}
