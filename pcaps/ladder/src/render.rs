//! Draws a call as a ladder for a terminal: parties as columns, a row for each message.

use crate::label::{line, mark_name};
use crate::layout::{self, Arrow, GUTTER};
use crate::model::{Call, Event, Media, Outcome, Party, Protocol};

/// How to draw.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Style {
    /// Columns of the terminal to stay within where the parties' names allow it; labels are cut to fit.
    pub width: usize,
    /// Only ASCII characters.
    pub ascii: bool,
    /// A colour for each protocol (ANSI sequences).
    pub color: bool,
}

impl Default for Style {
    fn default() -> Self {
        Style { width: 156, ascii: false, color: false }
    }
}

const NAME_MAX: usize = 22;
/// A longer name is broken at a space.
const NAME_LINE: usize = 14;
/// Cells for an interface's name in the media table.
const INTERFACE_MAX: usize = 32;
/// A pause of this length or longer gets a row of its own.
const PAUSE_NANOS: u64 = 400_000_000;

/// The characters of one way of drawing.
struct Ink {
    life: char,
    pause: char,
    cut: char,
    head_right: char,
    head_left: char,
    corners: [char; 4],
    across: char,
    down_from: char,
    down_into: char,
    dot: &'static str,
    to: &'static str,
}

const UNICODE: Ink = Ink {
    life: '│',
    pause: '┊',
    cut: '…',
    head_right: '▶',
    head_left: '◀',
    corners: ['┌', '┐', '└', '┘'],
    across: '─',
    down_from: '┬',
    down_into: '┴',
    dot: " · ",
    to: "→",
};
const ASCII: Ink = Ink {
    life: '|',
    pause: ':',
    cut: '~',
    head_right: '>',
    head_left: '<',
    corners: ['+', '+', '+', '+'],
    across: '-',
    down_from: '+',
    down_into: '+',
    dot: " - ",
    to: "->",
};

/// Line, crossing, start towards the right, start towards the left.
fn stroke(protocol: Protocol, ascii: bool) -> [char; 4] {
    match (protocol, ascii) {
        (Protocol::Sip, false) => ['─', '┼', '├', '┤'],
        (Protocol::Cops, false) => ['╌', '┼', '├', '┤'],
        (Protocol::Osp, false) => ['┄', '┼', '├', '┤'],
        (Protocol::Isup, false) => ['━', '┿', '┝', '┥'],
        (Protocol::Rtp, false) => ['═', '╪', '╞', '╡'],
        (Protocol::Sip, true) => ['-', '+', '+', '+'],
        (Protocol::Cops, true) => ['~', '+', '+', '+'],
        (Protocol::Osp, true) => ['.', '+', '+', '+'],
        (Protocol::Isup | Protocol::Rtp, true) => ['=', '+', '+', '+'],
    }
}

fn color(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Sip => "\x1b[36m",
        Protocol::Cops => "\x1b[33m",
        Protocol::Osp => "\x1b[35m",
        Protocol::Isup => "\x1b[32m",
        Protocol::Rtp => "\x1b[34m",
    }
}

struct Row {
    at: u64,
    protocol: Protocol,
    arrows: Vec<Arrow>,
}

/// The text with only characters that take one cell each.
fn cells(text: &str, ascii: bool) -> String {
    let narrow = |c: char| match c {
        ' '..='~' => c,
        '…' | '→' | '·' if !ascii => c,
        '\u{a1}'..='\u{2ff}' if !ascii && c != '\u{ad}' => c,
        '…' => '~',
        '→' => '>',
        _ => '?',
    };
    line(text, usize::MAX).chars().map(narrow).collect()
}

/// Cuts a label. What stands behind two spaces (SDP, token) is kept as long as it can be.
fn cut(label: &str, room: usize, mark: char) -> String {
    let length = label.chars().count();
    if length <= room {
        return label.to_owned();
    }
    let short = |text: &str, room: usize| -> String {
        let mut cut: String = text.chars().take(room.saturating_sub(1)).collect();
        if room > 0 {
            cut.push(mark);
        }
        cut
    };
    if let Some((head, tail)) = label.split_once("  ") {
        let tail_cells = tail.chars().count() + 2;
        if tail_cells + 12 <= room {
            return format!("{}  {tail}", short(head, room - tail_cells));
        }
        if head.chars().count() <= room {
            return head.to_owned();
        }
        return short(head, room);
    }
    short(label, room)
}

/// The end of a text: names of interfaces differ there.
fn tail(text: &str, room: usize, mark: char) -> String {
    let beyond = text.chars().count().saturating_sub(room);
    if beyond == 0 { text.to_owned() } else { std::iter::once(mark).chain(text.chars().skip(beyond + 1)).collect() }
}

/// Draws the call, its media table below it. Lines end with LF; no line has trailing spaces.
pub fn render(call: &Call, style: &Style) -> String {
    let ink = if style.ascii { &ASCII } else { &UNICODE };
    let rows = rows(call, style, ink);
    let heads = heads(call, style, ink);
    let boxes = layout::boxes(&heads, style.width);
    let columns = layout::columns(&boxes, rows.iter().flat_map(|row| &row.arrows), style.width);
    let total = columns.last().map_or(GUTTER, |last| last + boxes.last().copied().unwrap_or(0).div_ceil(2));
    let mut out = String::new();
    title(&mut out, call, style, ink);
    top(&mut out, &columns, &boxes, &heads, total, ink);
    let start = call.started_unix_nanos;
    let mut before = start;
    for row in &rows {
        if row.at.saturating_sub(before) >= PAUSE_NANOS {
            let pause = format!("+{:.1} s", row.at.saturating_sub(before) as f64 / 1e9);
            let mut canvas = canvas(&columns, total, ink.pause);
            write(&mut canvas, 0, &format!("{pause:>10}"));
            finish(&mut out, &canvas, None);
        }
        before = row.at;
        let mut canvas = canvas(&columns, total, ink.life);
        let ms = (row.at as i128 - i128::from(start)) as f64 / 1e6;
        write(&mut canvas, 0, &format!("{ms:>10.1} {}", row.protocol.as_str()));
        let (mut low, mut high) = (usize::MAX, 0);
        for arrow in &row.arrows {
            let (from, to) = (position(&columns, arrow.from), position(&columns, arrow.to));
            draw(&mut canvas, &columns, from, to, &arrow.label, stroke(row.protocol, style.ascii), ink);
            low = low.min(from.min(to));
            high = high.max(from.max(to));
        }
        finish(&mut out, &canvas, style.color.then_some((low, high, color(row.protocol))));
    }
    bottom(&mut out, &columns, &boxes, &heads, total, ink);
    if call.events_dropped > 0 {
        out.push_str(&format!("{} more messages are not shown\n", call.events_dropped));
    }
    let media = render_media(call, style);
    if !media.is_empty() {
        out.push('\n');
        out.push_str(&media);
    }
    out
}

/// The media of a call as a table: a line for each stream, and one for each place where it was seen.
pub fn render_media(call: &Call, style: &Style) -> String {
    let ink = if style.ascii { &ASCII } else { &UNICODE };
    let mut out = String::new();
    let name = |index: usize| call.parties.get(index).map_or("?", |party| party.name.as_str());
    let place = |media: &Media| media.points.iter().map(|point| point.interface.chars().count()).max().unwrap_or(0);
    let width = call.media.iter().map(place).max().unwrap_or(0).min(INTERFACE_MAX);
    for media in &call.media {
        let seconds = media.ended_unix_nanos.saturating_sub(media.started_unix_nanos) as f64 / 1e9;
        let head = format!(
            "RTP {}  {} {to} {}  {} {to} {}  SSRC {:08x}  {seconds:.2} s",
            media.codec,
            name(media.from),
            name(media.to),
            media.source,
            media.destination,
            media.ssrc,
            to = ink.to
        );
        out.push_str(&cells(&head, style.ascii));
        out.push('\n');
        for point in &media.points {
            let seen = point.packets + point.lost;
            let percent = if seen == 0 { 0.0 } else { point.lost as f64 * 100.0 / seen as f64 };
            let others = point.dscp_seen.iter().filter(|mark| **mark != point.dscp).map(|mark| mark_name(*mark));
            let marks = std::iter::once(mark_name(point.dscp)).chain(others).collect::<Vec<_>>().join(", ");
            let line = format!(
                "    {:<width$}  {marks:<12}  {:>6} packets  lost {} ({percent:.1} %)  jitter {:.2} ms  MOS {:.2}",
                tail(&cells(&point.interface, style.ascii), INTERFACE_MAX, ink.cut),
                point.packets,
                point.lost,
                point.jitter_ms,
                point.mos
            );
            out.push_str(&cells(&line, style.ascii));
            out.push('\n');
        }
    }
    out
}

fn rows(call: &Call, style: &Style, ink: &Ink) -> Vec<Row> {
    let event = |event: &Event| {
        let again = if event.retransmission { "again: " } else { "" };
        let label = cells(&format!("{again}{}", event.label), style.ascii);
        Row {
            at: event.at_unix_nanos,
            protocol: event.protocol,
            arrows: vec![Arrow { from: event.from, to: event.to, label }],
        }
    };
    let mut rows: Vec<Row> = call.events.iter().map(event).collect();
    for media in &call.media {
        rows.push(media_start(media));
        rows.push(media_end(media, ink));
    }
    rows.sort_by_key(|row| row.at);
    rows
}

/// The marks along the way: one for each hop.
fn hops(media: &Media) -> Vec<u8> {
    let mut marks: Vec<(u8, u8)> = Vec::new();
    for point in &media.points {
        if marks.last().is_none_or(|(ttl, _)| *ttl != point.ttl) {
            marks.push((point.ttl, point.dscp));
        }
    }
    marks.into_iter().map(|(_, dscp)| dscp).collect()
}

fn media_start(media: &Media) -> Row {
    let path: Vec<usize> =
        std::iter::once(media.from).chain(media.routers.iter().copied()).chain(std::iter::once(media.to)).collect();
    let marks = hops(media);
    let one_way = path.is_sorted_by(|a, b| a < b) || path.is_sorted_by(|a, b| a > b);
    let arrows = if one_way && marks.len() + 1 == path.len() {
        let hops: Vec<(usize, usize)> = path.iter().copied().zip(path.iter().copied().skip(1)).collect();
        // the codec is named where there is most room
        let longest = hops.iter().max_by_key(|(from, to)| from.abs_diff(*to)).copied();
        let arrow = |(hop, mark): (&(usize, usize), &u8)| {
            let mark = mark_name(*mark);
            let label = if Some(*hop) == longest { format!("RTP {}  {mark}", media.codec) } else { mark };
            Arrow { from: hop.0, to: hop.1, label }
        };
        hops.iter().zip(&marks).map(arrow).collect()
    } else {
        let marks: Vec<String> = marks.iter().map(|mark| mark_name(*mark)).collect();
        vec![Arrow { from: media.from, to: media.to, label: format!("RTP {}  {}", media.codec, marks.join(", ")) }]
    };
    Row { at: media.started_unix_nanos, protocol: Protocol::Rtp, arrows }
}

fn media_end(media: &Media, ink: &Ink) -> Row {
    // what the receiver's side got: the last place on the way
    let (packets, lost, jitter, mos) =
        media.points.last().map_or((0, 0, 0.0, 0.0), |point| (point.packets, point.lost, point.jitter_ms, point.mos));
    let marks: Vec<String> = hops(media).iter().map(u8::to_string).collect();
    let label = format!(
        "end: {packets} packets, lost {lost}, jitter {jitter:.1} ms, MOS {mos:.1}, DSCP {}",
        marks.join(ink.to)
    );
    Row {
        at: media.ended_unix_nanos,
        protocol: Protocol::Rtp,
        arrows: vec![Arrow { from: media.from, to: media.to, label }],
    }
}

fn position(columns: &[usize], index: usize) -> usize {
    columns.get(index).copied().unwrap_or(GUTTER)
}

fn canvas(columns: &[usize], total: usize, life: char) -> Vec<char> {
    let mut canvas = vec![' '; total + 1];
    for column in columns {
        put(&mut canvas, *column, life);
    }
    canvas
}

fn put(canvas: &mut [char], at: usize, c: char) {
    if let Some(cell) = canvas.get_mut(at) {
        *cell = c;
    }
}

fn write(canvas: &mut [char], at: usize, text: &str) {
    for (offset, c) in text.chars().enumerate() {
        put(canvas, at + offset, c);
    }
}

fn finish(out: &mut String, canvas: &[char], color: Option<(usize, usize, &str)>) {
    let used = canvas.iter().rposition(|c| *c != ' ').map_or(0, |last| last + 1);
    for (index, c) in canvas.iter().take(used).enumerate() {
        if let Some((low, high, code)) = color {
            if index == low {
                out.push_str(code);
            }
            out.push(*c);
            if index == high {
                out.push_str("\x1b[0m");
            }
        } else {
            out.push(*c);
        }
    }
    out.push('\n');
}

fn draw(canvas: &mut [char], columns: &[usize], from: usize, to: usize, label: &str, stroke: [char; 4], ink: &Ink) {
    let [across, crossing, start_right, start_left] = stroke;
    if from == to {
        put(canvas, from, start_right);
        let room = canvas.len().saturating_sub(from + 4);
        write(canvas, from + 1, &format!("{across} {}", cut(label, room, ink.cut)));
        return;
    }
    let (low, high) = (from.min(to), from.max(to));
    for at in low + 1..high {
        put(canvas, at, if columns.contains(&at) { crossing } else { across });
    }
    let (first, last) = if from < to {
        put(canvas, from, start_right);
        put(canvas, to - 1, ink.head_right);
        (low + 1, high - 2)
    } else {
        put(canvas, from, start_left);
        put(canvas, to + 1, ink.head_left);
        (low + 2, high - 1)
    };
    // a piece of line and a space on each side
    let room = (last + 1).saturating_sub(first).saturating_sub(4);
    let text = cut(label, room, ink.cut);
    let length = text.chars().count();
    if length > 0 {
        let centre = first + (last + 1 - first - length) / 2;
        // a crossing right beside the text reads as part of it: move aside, or let the text cover it
        let crossings: Vec<usize> = columns.iter().copied().filter(|at| (low + 1..high).contains(at)).collect();
        let clean = |at: &usize| {
            let beside = |crossing: &usize| {
                (*at..*at + 3).contains(&(crossing + 3)) || (*at + length..*at + length + 3).contains(crossing)
            };
            *at >= first + 2 && at + length < last && !crossings.iter().any(beside)
        };
        let moved = (0..8).flat_map(|by| [centre.saturating_sub(by), centre + by]).find(clean);
        let at = moved.unwrap_or(centre);
        write(canvas, at - 1, &format!(" {text} "));
    }
}

/// What stands in the boxes: a name in two lines, the second empty for short ones, and an address.
fn heads(call: &Call, style: &Style, ink: &Ink) -> Vec<[String; 3]> {
    let head = |party: &Party| {
        let name = cells(&party.name, style.ascii);
        let break_at =
            name.char_indices().map(|(at, c)| (at, c == ' ')).filter(|(at, space)| *space && *at <= NAME_LINE);
        let break_at = break_at.map(|(at, _)| at).next_back().filter(|_| name.chars().count() > NAME_LINE);
        let (first, second) = match break_at {
            Some(at) => (name.get(..at).unwrap_or_default(), name.get(at + 1..).unwrap_or_default()),
            None => (name.as_str(), ""),
        };
        let address = cells(party.addresses.first().map(String::as_str).unwrap_or_default(), style.ascii);
        [first, second, &address].map(|text| cut(text, NAME_MAX, ink.cut))
    };
    call.parties.iter().map(head).collect()
}

fn head_line(out: &mut String, columns: &[usize], boxes: &[usize], heads: &[[String; 3]], line: usize, ink: &Ink) {
    let texts = || heads.iter().map(|head| head.get(line).map(String::as_str).unwrap_or_default());
    if texts().all(str::is_empty) {
        return;
    }
    let total = columns.iter().zip(boxes).map(|(column, width)| column + width).max().unwrap_or(0);
    let mut canvas = vec![' '; total];
    for ((column, width), text) in columns.iter().zip(boxes).zip(texts()) {
        inside(&mut canvas, *column, *width, text, ink);
    }
    finish(out, &canvas, None);
}

fn top(out: &mut String, columns: &[usize], boxes: &[usize], heads: &[[String; 3]], total: usize, ink: &Ink) {
    let [top_left, top_right, bottom_left, bottom_right] = ink.corners;
    edge(out, columns, boxes, total, [top_left, top_right], ink.across, ink);
    for line in 0..3 {
        head_line(out, columns, boxes, heads, line, ink);
    }
    edge(out, columns, boxes, total, [bottom_left, bottom_right], ink.down_from, ink);
}

fn bottom(out: &mut String, columns: &[usize], boxes: &[usize], heads: &[[String; 3]], total: usize, ink: &Ink) {
    let [top_left, top_right, bottom_left, bottom_right] = ink.corners;
    edge(out, columns, boxes, total, [top_left, top_right], ink.down_into, ink);
    for line in 0..2 {
        head_line(out, columns, boxes, heads, line, ink);
    }
    edge(out, columns, boxes, total, [bottom_left, bottom_right], ink.across, ink);
}

/// The upper or lower side of the boxes, with `middle` where the lifeline joins.
fn edge(
    out: &mut String,
    columns: &[usize],
    boxes: &[usize],
    total: usize,
    corners: [char; 2],
    middle: char,
    ink: &Ink,
) {
    let mut canvas = vec![' '; total + 1];
    for (column, width) in columns.iter().zip(boxes) {
        let left = column - width / 2;
        for at in left..left + width {
            put(&mut canvas, at, ink.across);
        }
        put(&mut canvas, left, corners[0]);
        put(&mut canvas, left + width - 1, corners[1]);
        put(&mut canvas, *column, middle);
    }
    finish(out, &canvas, None);
}

fn inside(canvas: &mut [char], column: usize, width: usize, text: &str, ink: &Ink) {
    let left = column - width / 2;
    put(canvas, left, ink.life);
    put(canvas, left + width - 1, ink.life);
    let pad = (width - 2).saturating_sub(text.chars().count());
    write(canvas, left + 1 + pad.div_ceil(2), text);
}

/// Who called whom, what became of it, and its names in the protocols.
fn title(out: &mut String, call: &Call, style: &Style, ink: &Ink) {
    let seconds = |ms: u64| format!("{:.1} s", ms as f64 / 1000.0);
    let mut facts = Vec::new();
    if let Some(ms) = call.answered_after_ms {
        facts.push(format!("answered after {}", seconds(ms)));
    }
    facts.push(match &call.outcome {
        Outcome::Unfinished => "not finished in this capture".to_owned(),
        Outcome::Answered => "still up at the end of the capture".to_owned(),
        Outcome::Completed { talked_ms, ended_by } => {
            let who = call.parties.get(*ended_by).map_or("?", |party| party.name.as_str());
            format!("talked {}{}ended by {who}", seconds(*talked_ms), ink.dot)
        }
        Outcome::Cancelled => "cancelled by the caller".to_owned(),
        Outcome::Failed { status: 0, reason } => format!("failed: {reason}"),
        Outcome::Failed { status, reason } => format!("failed: {status} {reason}"),
    });
    facts.push(strowger_clock::Timestamp::from_unix_nanos(call.started_unix_nanos).to_rfc3339());
    let mut names = Vec::new();
    for call_id in &call.call_ids {
        names.push(format!("Call-ID {call_id}"));
    }
    names.extend(call.transaction_ids.iter().map(|id| format!("OSP transaction {id}")));
    names.extend(call.circuits.iter().map(|cic| format!("circuit {cic}")));
    let first = format!("{} {} {}", call.from, ink.to, call.to);
    for text in [first, facts.join(ink.dot), names.join(ink.dot)] {
        if !text.is_empty() {
            out.push_str(&cut(&cells(&text, style.ascii), style.width.max(60), ink.cut));
            out.push('\n');
        }
    }
    out.push('\n');
}
