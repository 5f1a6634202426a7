//! The caller's side of the media: offers and answers (RFC 3264), and what they agree on.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use strowger_sdp::{Capabilities, Codec, NoCommonCodec, SessionDescription, answer, negotiated, offer};

use crate::effect::{Law, Stream};

/// What has been said so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Session {
    pub port: Option<u16>,
    pub id: u64,
    /// The caller's offer, while our answer is not made.
    pub offer: Option<SessionDescription>,
    /// Our last description.
    pub ours: Option<SessionDescription>,
    /// Our last description is an offer whose answer has not come.
    pub offering: bool,
    pub stream: Option<Stream>,
}

/// The description in a message body; `None` when it cannot be read.
pub(crate) fn parse(sdp: &Bytes) -> Option<SessionDescription> {
    SessionDescription::parse(std::str::from_utf8(sdp).ok()?).ok()
}

fn capabilities(address: IpAddr, port: u16, id: u64) -> Capabilities {
    Capabilities::g711(address, port, id)
}

/// Our answer with one codec alone, the first of the offer's that is ours: what comes in then is what goes out.
fn answer_one(offered: &SessionDescription, mut can: Capabilities) -> Result<SessionDescription, NoCommonCodec> {
    let full = answer(offered, &can)?;
    let first = full
        .audio()
        .and_then(|index| full.media.get(index))
        .and_then(|media| media.payloads().into_iter().find(|payload| !payload.codec.is_telephone_event()));
    let Some(first) = first else { return Ok(full) };
    can.codecs = vec![first.codec];
    answer(offered, &can)
}

/// Whether an offer can be accepted at all: it has a line of ours, and something to talk with.
pub(crate) fn is_acceptable(offered: &SessionDescription, address: IpAddr) -> bool {
    answer_one(offered, capabilities(address, 9, 0)).is_ok_and(|answer| answer.audio().is_some())
}

impl Session {
    pub(crate) fn new(id: u64, offer: Option<SessionDescription>) -> Session {
        Session { id, offer, ..Session::default() }
    }

    fn body(description: &SessionDescription) -> Bytes {
        Bytes::from(description.to_string())
    }

    fn keep(&mut self, description: SessionDescription) -> Bytes {
        let description = match &self.ours {
            Some(previous) => description.following(previous),
            None => description,
        };
        let body = Self::body(&description);
        self.ours = Some(description);
        body
    }

    /// The answer to an offer; the stream is what both agree on then.
    pub(crate) fn answer(&mut self, offered: &SessionDescription, address: IpAddr) -> Result<Bytes, NoCommonCodec> {
        let can = capabilities(address, self.port.unwrap_or(9), self.id);
        let answered = answer_one(offered, can)?;
        let body = self.keep(answered);
        self.stream = self.ours.as_ref().and_then(|ours| agreed(ours, offered, true));
        self.offering = false;
        Ok(body)
    }

    /// What belongs into a response with a session description: the answer to the caller's offer, made once, or our offer.
    pub(crate) fn description(&mut self, address: IpAddr) -> Option<Bytes> {
        if let Some(offered) = self.offer.take() {
            return self.answer(&offered, address).ok();
        }
        match &self.ours {
            Some(ours) => Some(Self::body(ours)),
            None => Some(self.offer(address)),
        }
    }

    /// Our offer: everything we can.
    pub(crate) fn offer(&mut self, address: IpAddr) -> Bytes {
        let can = capabilities(address, self.port.unwrap_or(9), self.id);
        self.offering = true;
        self.keep(offer(&can))
    }

    /// Takes the answer to our offer. False when it agrees to nothing.
    pub(crate) fn answered(&mut self, theirs: &SessionDescription) -> bool {
        self.offering = false;
        self.stream = self.ours.as_ref().and_then(|ours| agreed(ours, theirs, false));
        self.stream.is_some()
    }
}

/// The stream of two descriptions, seen from us.
fn agreed(ours: &SessionDescription, theirs: &SessionDescription, we_answered: bool) -> Option<Stream> {
    let index = ours.audio()?;
    let common = negotiated(ours, theirs, index, we_answered);
    let speech = common.iter().find(|payload| !payload.codec.is_telephone_event())?;
    let events = common.iter().find(|payload| payload.codec.is_telephone_event());
    let direction =
        if we_answered { ours.direction(index) } else { theirs.direction(index).reversed().and(ours.direction(index)) };
    Some(Stream {
        remote: theirs.media_address(index).map(|(address, port)| SocketAddr::new(address, port)),
        payload_type: speech.send_type,
        law: if speech.codec.is_same(&Codec::pcmu()) { Law::Mu } else { Law::A },
        telephone_event: events.map(|events| events.send_type),
        direction,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use strowger_sdp::Direction;

    const US: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    fn sdp(media: &str) -> SessionDescription {
        let text = format!("v=0\r\no=a 1 1 IN IP4 10.0.0.9\r\ns=-\r\nc=IN IP4 10.0.0.9\r\nt=0 0\r\n{media}");
        SessionDescription::parse(&text).unwrap()
    }

    #[test]
    fn an_answer_names_one_codec_and_the_stream_follows_the_offer() {
        let offered = sdp("m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n");
        let mut session = Session::new(7, None);
        session.port = Some(20_000);
        session.answer(&offered, US).unwrap();
        let ours = session.ours.clone().unwrap();
        assert_eq!(ours.media[0].formats, ["0", "101"]);
        assert_eq!(ours.media[0].port, 20_000);
        let stream = session.stream.unwrap();
        assert_eq!(stream.remote.unwrap().to_string(), "10.0.0.9:4000");
        assert_eq!((stream.law, stream.payload_type, stream.telephone_event), (Law::Mu, 0, Some(101)));
        assert_eq!(stream.direction, Direction::SendRecv);
    }

    #[test]
    fn hold_and_resume_are_versions_of_one_session() {
        let mut session = Session::new(7, None);
        session.port = Some(20_000);
        session.answer(&sdp("m=audio 4000 RTP/AVP 8\r\n"), US).unwrap();
        session.answer(&sdp("m=audio 4000 RTP/AVP 8\r\na=sendonly\r\n"), US).unwrap();
        assert_eq!(session.stream.unwrap().direction, Direction::RecvOnly);
        assert_eq!(session.ours.as_ref().unwrap().origin.version, 2);
        session.answer(&sdp("m=audio 4000 RTP/AVP 8\r\n"), US).unwrap();
        assert_eq!(session.stream.unwrap().direction, Direction::SendRecv);
        assert_eq!(session.ours.as_ref().unwrap().origin.version, 3);
    }

    #[test]
    fn our_offer_is_answered() {
        let mut session = Session::new(7, None);
        session.port = Some(20_000);
        session.description(US).unwrap();
        assert!(session.offering);
        assert!(session.answered(&sdp("m=audio 4000 RTP/AVP 0\r\na=recvonly\r\n")));
        assert_eq!(session.stream.unwrap().law, Law::Mu);
        assert_eq!(session.stream.unwrap().direction, Direction::SendOnly);
        assert!(!session.answered(&sdp("m=audio 0 RTP/AVP 0\r\n")));
    }

    #[test]
    fn what_has_no_codec_of_ours_is_not_acceptable() {
        assert!(!is_acceptable(&sdp("m=audio 4000 RTP/AVP 18\r\n"), US));
        assert!(!is_acceptable(&sdp("m=video 4000 RTP/AVP 31\r\n"), US));
        assert!(!is_acceptable(&sdp("m=audio 0 RTP/AVP 8\r\n"), US));
        assert!(is_acceptable(&sdp("m=video 4000 RTP/AVP 31\r\nm=audio 4002 RTP/AVP 8\r\n"), US));
    }
}
