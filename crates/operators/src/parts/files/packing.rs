//! Compression of a file's bytes while they pass.

use std::io::{self, Write};

use flate2::write::GzEncoder;
use zstd::stream::write::Encoder as ZstdEncoder;

use crate::parts::files::mark::Compression;

/// zstd's own default; faster than gzip's fastest and smaller.
const ZSTD_LEVEL: i32 = 3;

pub enum Packer {
    None,
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(ZstdEncoder<'static, Vec<u8>>),
}

impl Packer {
    pub fn new(compression: Compression) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::None,
            Compression::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::fast())),
            Compression::Zstd => {
                let mut encoder = ZstdEncoder::new(Vec::new(), ZSTD_LEVEL)?;
                encoder.include_checksum(true)?;
                Self::Zstd(encoder)
            }
        })
    }

    /// Takes what is in the buffer and gives what can leave. `capacity` is what the buffer will need next.
    pub fn pack(&mut self, buffer: &mut Vec<u8>, capacity: usize, is_last: bool) -> io::Result<Vec<u8>> {
        let out = match self {
            Self::None => return Ok(std::mem::replace(buffer, Vec::with_capacity(capacity))),
            Self::Gzip(encoder) => {
                encoder.write_all(buffer)?;
                if is_last {
                    encoder.try_finish()?;
                }
                std::mem::take(encoder.get_mut())
            }
            Self::Zstd(encoder) => {
                encoder.write_all(buffer)?;
                if is_last {
                    encoder.do_finish()?;
                }
                std::mem::take(encoder.get_mut())
            }
        };
        // What one long row has made of it is not kept beside the row's packed bytes while the next one comes.
        if buffer.capacity() > 2 * capacity {
            *buffer = Vec::with_capacity(capacity);
        } else {
            buffer.clear();
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn the_room_of_a_long_row_is_given_back_once_it_is_packed() {
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let mut packer = Packer::new(compression).unwrap();
            let mut buffer = vec![b'x'; 8 << 20];
            packer.pack(&mut buffer, 64 << 10, false).unwrap();
            assert!(buffer.is_empty() && buffer.capacity() < 1 << 20, "{compression:?}: {}", buffer.capacity());
            buffer.extend_from_slice(b"short");
            let room = buffer.capacity();
            packer.pack(&mut buffer, 64 << 10, false).unwrap();
            assert!(buffer.is_empty() && buffer.capacity() <= room, "{compression:?}");
        }
    }

    #[test]
    fn what_is_packed_can_be_unpacked() {
        let text: Vec<u8> = (0..100_000_u32).flat_map(|n| format!("{n},\u{c8fc}\n").into_bytes()).collect();
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let mut packer = Packer::new(compression).unwrap();
            let mut packed = Vec::new();
            for piece in text.chunks(70_000) {
                packed.extend(packer.pack(&mut piece.to_vec(), 0, false).unwrap());
            }
            packed.extend(packer.pack(&mut Vec::new(), 0, true).unwrap());
            let mut back = Vec::new();
            match compression {
                Compression::None => back = packed,
                Compression::Gzip => drop(flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut back).unwrap()),
                Compression::Zstd => back = zstd::decode_all(&packed[..]).unwrap(),
            }
            assert!(back == text, "{compression:?}");
        }
    }
}
