//! Where the columns of a ladder stand.

/// Columns left of the ladder: time in ms, protocol.
pub(crate) const GUTTER: usize = 16;
/// Cells of an arrow beside its label: both ends, a space and a piece of line on each side, the head.
const ARROW_CELLS: usize = 6;
/// Room that a label over one gap may ask for at most, and gets in any case.
const LABEL_MAX: usize = 52;
const LABEL_MIN: usize = 8;

/// One arrow: columns and label.
pub(crate) struct Arrow {
    pub from: usize,
    pub to: usize,
    pub label: String,
}

/// The widths of the boxes around these texts: with a space on each side where the ladder's width allows it.
pub(crate) fn boxes<const N: usize>(heads: &[[String; N]], width: usize) -> Vec<usize> {
    let text = |lines: &[String; N]| lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    let around = |more: usize| -> Vec<usize> { heads.iter().map(|lines| text(lines) + more).collect() };
    let wide = around(4);
    if fits(&spread(&wide, &[], &[]), &wide, width) { wide } else { around(2) }
}

fn fits(columns: &[usize], boxes: &[usize], width: usize) -> bool {
    columns.last().copied().unwrap_or(0) + boxes.last().copied().unwrap_or(0).div_ceil(2) <= width
}

/// Where the columns stand: as far apart as boxes need, and labels as far as the width allows.
pub(crate) fn columns<'a>(boxes: &[usize], arrows: impl Iterator<Item = &'a Arrow>, width: usize) -> Vec<usize> {
    let fits = |columns: &[usize]| fits(columns, boxes, width);
    let arrows = arrows.filter(|arrow| arrow.from != arrow.to);
    let mut demands: Vec<Demand> = arrows
        .map(|arrow| Demand {
            low: arrow.from.min(arrow.to),
            span: arrow.from.abs_diff(arrow.to),
            label: arrow.label.chars().count(),
        })
        .collect();
    // short spans first: what they get, the long ones have already
    demands.sort_unstable_by_key(|demand| (demand.span, demand.low, demand.label));
    demands.dedup();
    let with_limit = |limits: &[usize]| spread(boxes, &demands, limits);
    let mut limits = vec![LABEL_MIN; demands.len()];
    let mut best = with_limit(&limits);
    for limit in LABEL_MIN + 1..=LABEL_MAX {
        // a label over several gaps says more: it is an INVITE or an authorization
        let scaled: Vec<usize> = demands.iter().map(|demand| limit * (demand.span.min(3) + 1) / 2).collect();
        let wider = with_limit(&scaled);
        if !fits(&wider) {
            break;
        }
        limits = scaled;
        best = wider;
    }
    // what is left goes to the labels over several gaps, then to those that miss least
    let mut cut: Vec<usize> = (0..demands.len()).collect();
    cut.sort_by_key(|index| demands.get(*index).map(|demand| (demand.span == 1, demand.label)));
    for index in cut {
        let mut wanted = limits.clone();
        if let Some(limit) = wanted.get_mut(index) {
            *limit = LABEL_MAX;
        }
        let wider = with_limit(&wanted);
        if fits(&wider) {
            limits = wanted;
            best = wider;
        }
    }
    best
}

/// A label that wants room between two columns.
#[derive(Copy, Clone, PartialEq, Eq)]
struct Demand {
    low: usize,
    span: usize,
    label: usize,
}

fn spread(boxes: &[usize], demands: &[Demand], limits: &[usize]) -> Vec<usize> {
    let mut gaps: Vec<usize> = boxes
        .windows(2)
        .map(|pair| if let [left, right] = pair { left.div_ceil(2) + right.div_ceil(2) + 1 } else { 0 })
        .collect();
    for (demand, limit) in demands.iter().zip(limits) {
        let Some(gaps) = gaps.get_mut(demand.low..demand.low + demand.span) else { continue };
        let missing = (demand.label.min(*limit) + ARROW_CELLS).saturating_sub(gaps.iter().sum());
        for (index, gap) in gaps.iter_mut().enumerate() {
            *gap += missing / demand.span + usize::from(index < missing % demand.span);
        }
    }
    // nothing stands left of the boxes, so the first may reach over the gutter
    let mut at = GUTTER.max(boxes.first().copied().unwrap_or(0) / 2);
    let mut columns = vec![at; usize::from(!boxes.is_empty())];
    for gap in gaps {
        at += gap;
        columns.push(at);
    }
    columns
}
