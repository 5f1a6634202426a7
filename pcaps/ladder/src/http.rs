//! Cuts one direction of an HTTP/1.1 connection into messages (RFC 9112 §6), as far as OSP needs it.

/// Longest head.
const HEAD_OCTETS_MAX: usize = 32 * 1024;
/// Longest body that is kept; OSP's own limit is lower.
const BODY_OCTETS_MAX: usize = 1 << 20;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HttpMessage {
    /// Request or status line.
    pub start: String,
    pub content_type: Option<String>,
    pub body: Vec<u8>,
}

impl HttpMessage {
    /// The status code of an answer.
    pub(crate) fn status(&self) -> Option<u16> {
        self.start.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()
    }
}

/// The stream is no HTTP, or beyond a limit.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotHttp;

/// Collects octets, gives messages.
#[derive(Debug, Default)]
pub(crate) struct HttpFramer {
    buffer: Vec<u8>,
}

pub(crate) fn begins(bytes: &[u8]) -> bool {
    [&b"POST "[..], b"HTTP/1.", b"GET ", b"PUT ", b"HEAD ", b"DELETE "].iter().any(|start| bytes.starts_with(start))
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

impl HttpFramer {
    pub(crate) fn push(&mut self, octets: &[u8]) {
        self.buffer.extend_from_slice(octets);
    }

    /// The next whole message; `None` when more is needed.
    pub(crate) fn next(&mut self) -> Result<Option<HttpMessage>, NotHttp> {
        let searched = self.buffer.get(..HEAD_OCTETS_MAX).unwrap_or(&self.buffer);
        let Some(end) = find(searched, b"\r\n\r\n") else {
            return if self.buffer.len() > HEAD_OCTETS_MAX { Err(NotHttp) } else { Ok(None) };
        };
        let head = String::from_utf8_lossy(self.buffer.get(..end).unwrap_or_default()).into_owned();
        let mut lines = head.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        if !begins(start.as_bytes()) {
            return Err(NotHttp);
        }
        let (mut length, mut chunked, mut content_type) = (0usize, false, None);
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().map_err(|_| NotHttp)?,
                "transfer-encoding" => chunked = value.to_ascii_lowercase().ends_with("chunked"),
                "content-type" => content_type = Some(value.to_owned()),
                _ => {}
            }
        }
        let message = HttpMessage { start, content_type, body: Vec::new() };
        if matches!(message.status(), Some(100..=199 | 204 | 304)) {
            (length, chunked) = (0, false);
        }
        let body_at = end + 4;
        let (body, used) = if chunked {
            match self.chunks(body_at)? {
                Some(found) => found,
                None => return Ok(None),
            }
        } else {
            if length > BODY_OCTETS_MAX {
                return Err(NotHttp);
            }
            match self.buffer.get(body_at..body_at + length) {
                Some(body) => (body.to_vec(), body_at + length),
                None => return Ok(None),
            }
        };
        self.buffer.drain(..used);
        Ok(Some(HttpMessage { body, ..message }))
    }

    /// A chunked body and where it ends (RFC 9112 §7.1).
    fn chunks(&self, mut at: usize) -> Result<Option<(Vec<u8>, usize)>, NotHttp> {
        let mut body = Vec::new();
        loop {
            let rest = self.buffer.get(at..).unwrap_or_default();
            let Some(line_end) = find(rest, b"\r\n") else {
                return if rest.len() > 1_024 { Err(NotHttp) } else { Ok(None) };
            };
            let line = std::str::from_utf8(rest.get(..line_end).unwrap_or_default()).map_err(|_| NotHttp)?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let octets = usize::from_str_radix(digits, 16).map_err(|_| NotHttp)?;
            at += line_end + 2;
            if octets == 0 {
                // no trailers are expected: the empty line ends it
                let ended = self.buffer.get(at..at + 2).is_some();
                return Ok(ended.then_some((body, at + 2)));
            }
            if octets > BODY_OCTETS_MAX || body.len() + octets > BODY_OCTETS_MAX {
                return Err(NotHttp);
            }
            let Some(chunk) = self.buffer.get(at..at + octets) else { return Ok(None) };
            body.extend_from_slice(chunk);
            at += octets + 2;
            if self.buffer.len() < at {
                return Ok(None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(octets: &[u8], step: usize) -> Vec<(String, Vec<u8>)> {
        let (mut framer, mut found) = (HttpFramer::default(), Vec::new());
        for part in octets.chunks(step) {
            framer.push(part);
            while let Ok(Some(message)) = framer.next() {
                found.push((message.start, message.body));
            }
        }
        found
    }

    #[test]
    fn lengths_chunks_and_empty_answers_are_cut_whatever_the_segments() {
        let stream = b"POST /osp HTTP/1.1\r\ncontent-length: 3\r\n\r\nabcHTTP/1.1 204 No Content\r\n\r\n\
            HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nde\r\n1\r\nf\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n";
        for step in [1, 7, 1000] {
            let found = all(stream, step);
            let bodies: Vec<&[u8]> = found.iter().map(|(_, body)| &body[..]).collect();
            assert_eq!(bodies, [&b"abc"[..], b"", b"def", b""], "in steps of {step}");
        }
    }

    #[test]
    fn limits_hold() {
        let mut framer = HttpFramer::default();
        framer.push(format!("POST / HTTP/1.1\r\nContent-Length: {BODY_OCTETS_MAX}\r\n\r\n").as_bytes());
        assert_eq!(framer.next(), Ok(None));
        let mut framer = HttpFramer::default();
        framer.push(format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", BODY_OCTETS_MAX + 1).as_bytes());
        assert_eq!(framer.next(), Err(NotHttp));
        let mut framer = HttpFramer::default();
        framer.push(&vec![b'a'; HEAD_OCTETS_MAX]);
        assert_eq!(framer.next(), Ok(None));
        framer.push(b"a");
        assert_eq!(framer.next(), Err(NotHttp));
    }

    proptest! {
        #[test]
        fn arbitrary_octets_never_panic(body in "(POST / HTTP/1.1\r\n)?(Transfer-Encoding: chunked\r\n)?(Content-Length: [0-9]{1,30}\r\n)?(\r\n)?[0-9a-f\r\n;]{0,60}") {
            all(body.as_bytes(), 5);
        }
    }
}
