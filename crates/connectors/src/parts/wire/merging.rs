//! Rows of a COPY in few messages.
//!
//! The server sends each row in a message of its own, and tokio-postgres hands each over by itself, which costs more than
//! to read the row. Messages that lie beside each other are made one here: the protocol leaves open where COPY's bytes
//! are cut. For the same reason a long row's message is handed on in pieces: tokio-postgres would hold all of it, and the
//! next ones, beside the row that is made of it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are read at a time, and the longest message that comes of them. There may be 32 readers, and each holds several
/// times as much.
const ROOM: usize = 16 << 10;
/// Of a message: a letter, and its length as 32 bits, which counts itself.
const HEAD: usize = 5;
const COPY_DATA: u8 = b'd';

/// What comes from the server, with neighbouring CopyData made one; what goes there as it is.
pub struct Merging<S> {
    stream: S,
    buffer: Vec<u8>,
    /// How far the buffer has been handed out, may be handed out, and was filled. What lies between the last two is the
    /// beginning of a message.
    taken: usize,
    ready: usize,
    end: usize,
    /// Bytes to come of a message that the buffer cannot hold.
    passing: usize,
    /// The same of a CopyData, whose pieces are messages of their own. They are read behind the room for their head.
    cutting: usize,
}

impl<S> Merging<S> {
    pub fn of(stream: S) -> Self {
        Self { stream, buffer: vec![0; ROOM], taken: 0, ready: 0, end: 0, passing: 0, cutting: 0 }
    }

    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Makes ready what was read. Messages move towards the beginning of the buffer, as heads between them go.
    fn merge(&mut self) {
        let Self { buffer, end, passing, cutting, .. } = self;
        // Where the message begins that the next one may become a part of.
        let mut open = None;
        let mut from = (*passing).min(*end);
        *passing -= from;
        if *cutting > 0 {
            let piece = (*end - HEAD).min(*cutting);
            *cutting -= piece;
            from = HEAD + piece;
            write_head(buffer, 0, from);
            open = Some(0);
        }
        let mut to = from;
        while let Some([tag, length @ ..]) = buffer[from..*end].first_chunk::<HEAD>() {
            let (tag, length) = (*tag, u32::from_be_bytes(*length) as usize + 1);
            let mut next = from + length;
            // A length below its least is for others to refuse.
            if length > buffer.len() && tag == COPY_DATA {
                *cutting = next - *end;
                next = *end;
            } else if length > buffer.len() || length < HEAD {
                *passing = next.checked_sub(*end).filter(|_| length >= HEAD).unwrap_or(usize::MAX);
                next = *end;
            } else if next > *end {
                break;
            }
            match open {
                Some(head) if tag == COPY_DATA && *passing == 0 => {
                    buffer.copy_within(from + HEAD..next, to);
                    to += next - from - HEAD;
                    write_head(buffer, head, to);
                }
                _ => {
                    buffer.copy_within(from..next, to);
                    open = (tag == COPY_DATA).then_some(to);
                    to += next - from;
                    if *cutting > 0 {
                        write_head(buffer, to - (next - from), to);
                    }
                }
            }
            from = next;
        }
        buffer.copy_within(from..*end, to);
        *end -= from - to;
        (self.taken, self.ready) = (0, to);
    }
}

/// Of the CopyData that is `buffer[start..end]`.
fn write_head(buffer: &mut [u8], start: usize, end: usize) {
    buffer[start] = COPY_DATA;
    buffer[start + 1..start + HEAD].copy_from_slice(&((end - start - 1) as u32).to_be_bytes());
}

impl<S: AsyncRead + Unpin> AsyncRead for Merging<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.taken == this.ready {
            this.buffer.copy_within(this.ready..this.end, 0);
            this.end -= this.ready;
            (this.taken, this.ready) = (0, 0);
            if this.cutting > 0 {
                this.end = HEAD;
            }
            let mut room = ReadBuf::new(&mut this.buffer[this.end..]);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut room))?;
            let read = room.filled().len();
            this.end += read;
            if read == 0 {
                // What was cut off is handed out too, so that it is seen to be.
                if std::mem::take(&mut this.cutting) > 0 {
                    (this.buffer[0], this.end) = (COPY_DATA, 1);
                }
                this.ready = this.end;
                break;
            }
            this.merge();
        }
        let given = out.remaining().min(this.ready - this.taken);
        out.put_slice(&this.buffer[this.taken..this.taken + given]);
        this.taken += given;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Merging<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut message = vec![tag];
        message.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        message.extend_from_slice(body);
        message
    }

    /// Tags and bodies, with neighbouring CopyData made one.
    fn messages(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut all: Vec<(u8, Vec<u8>)> = Vec::new();
        while let Some([tag, length @ ..]) = bytes.first_chunk::<HEAD>() {
            let end = u32::from_be_bytes(*length) as usize + 1;
            let body = &bytes[HEAD..end];
            match all.last_mut() {
                Some((COPY_DATA, last)) if *tag == COPY_DATA => last.extend_from_slice(body),
                _ => all.push((*tag, body.to_vec())),
            }
            bytes = &bytes[end..];
        }
        assert!(bytes.is_empty());
        all
    }

    /// A server's bytes in pieces of such a size.
    async fn merged(sent: &[u8], piece: usize) -> Vec<u8> {
        let (near, mut far) = tokio::io::duplex(piece);
        let sent = sent.to_vec();
        let sending = tokio::spawn(async move { tokio::io::AsyncWriteExt::write_all(&mut far, &sent).await });
        let mut out = Vec::new();
        Merging::of(near).read_to_end(&mut out).await.unwrap();
        sending.await.unwrap().unwrap();
        out
    }

    #[tokio::test]
    async fn nothing_is_lost_however_the_bytes_come() {
        let mut sent = message(b'H', b"copy begins");
        for length in [0, 1, 20, 3000, ROOM - HEAD, 7, ROOM - HEAD + 1, 5, 3 * ROOM, 2] {
            sent.extend(message(COPY_DATA, &vec![length as u8; length]));
        }
        sent.extend(message(b'N', b"a notice"));
        sent.extend(message(COPY_DATA, b"row\n"));
        sent.extend(message(b'c', b""));
        sent.extend(message(b'Z', b"T"));
        for piece in [1, 3, 5, 1000, ROOM, 1 << 20] {
            assert_eq!(messages(&merged(&sent, piece).await), messages(&sent), "pieces of {piece}");
        }
    }

    #[tokio::test]
    async fn rows_that_come_together_are_one_message() {
        let sent: Vec<u8> = (0..1000).flat_map(|n| message(COPY_DATA, format!("{n}\n").as_bytes())).collect();
        let merged = merged(&sent, 1 << 20).await;
        assert_eq!(merged.len(), sent.len() - 999 * HEAD);
        assert_eq!(messages(&merged), messages(&sent));
    }

    #[tokio::test]
    async fn a_long_row_comes_in_short_messages_and_where_it_is_cut_off_something_is_missing() {
        let sent = [message(COPY_DATA, b"1\n"), message(COPY_DATA, &vec![b'x'; 5 * ROOM]), message(b'c', b"")].concat();
        for piece in [7, ROOM, 1 << 20] {
            let whole = merged(&sent, piece).await;
            assert_eq!(messages(&whole), messages(&sent));
            let mut rest = &whole[..];
            while let Some([_, length @ ..]) = rest.first_chunk::<HEAD>() {
                let end = u32::from_be_bytes(*length) as usize + 1;
                assert!(end <= ROOM, "a message of {end} bytes");
                rest = &rest[end..];
            }
            for end in [HEAD + 2 + HEAD, 2 * ROOM, sent.len() - HEAD - 1] {
                let cut = merged(&sent[..end], piece).await;
                let (last, before) = cut.split_last().unwrap();
                let bytes: usize = messages(before).iter().map(|(_, body)| body.len()).sum();
                assert_eq!((*last, bytes), (COPY_DATA, end - 2 * HEAD), "cut after {end} bytes");
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_message_or_is_cut_off_passes_as_it_is() {
        for sent in [&b"d\0\0\0\x02no length"[..], b"d\0\0\x01\0cut off", b"d\0"] {
            assert_eq!(merged(sent, 4).await, sent);
        }
    }
}
