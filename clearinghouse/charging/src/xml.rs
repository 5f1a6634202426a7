//! `application/vnd.etsi.sci+xml`.
//!
//! Amounts are a factor and a power of ten, as in ES 201 296: `currencyFactor` 0 to 999999, `currencyScale` -7 to 3. Prices here are read and
//! written exactly; one that a factor and a scale cannot hold is refused, not rounded.

use crate::message::{ChargeMessage, ChargeTariff, MAXIMUM_STEPS, Step};
use quick_xml::Reader;
use quick_xml::events::Event;
use std::fmt::Write as _;
use strowger_ledger::{Currency, Money};

/// The media type.
pub const CONTENT_TYPE: &str = "application/vnd.etsi.sci+xml";

/// The longest document that is read.
pub const MAXIMUM_XML_OCTETS: usize = 16 * 1024;

const MAXIMUM_DEPTH: usize = 16;
const MAXIMUM_ELEMENTS: usize = 256;

/// Why a document is no charge message, or a message cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    /// Longer than [`MAXIMUM_XML_OCTETS`], nested too deep, or too many elements.
    #[error("the charge message is too large")]
    TooLarge,
    /// Not well-formed, not UTF-8, or with a document type.
    #[error("the charge message is not well-formed")]
    Malformed,
    /// No known message inside.
    #[error("there is no crgt, aocrg, crga, start or stop")]
    NoMessage,
    /// An element is missing or holds no such value.
    #[error("the charge message's {0} is missing or invalid")]
    Element(&'static str),
    /// The price has more than six significant digits, or is too large or too small.
    #[error("the price of {0} billionths cannot be written as a factor and a scale")]
    Unwritable(i64),
}

#[derive(Debug, Default)]
struct Element {
    name: String,
    text: String,
    children: Vec<Element>,
}

impl Element {
    fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    fn number<T: std::str::FromStr>(&self, name: &'static str) -> Result<T, XmlError> {
        let child = self.child(name).ok_or(XmlError::Element(name))?;
        child.text.trim().parse().map_err(|_| XmlError::Element(name))
    }

    /// `currencyFactor` and `currencyScale` in this element, as billionths.
    fn amount(&self) -> Result<i64, XmlError> {
        let factor: i64 = self.number("currencyFactor")?;
        let scale: i32 = self.number("currencyScale")?;
        if !(0..=999_999).contains(&factor) {
            return Err(XmlError::Element("currencyFactor"));
        }
        if !(-7..=3).contains(&scale) {
            return Err(XmlError::Element("currencyScale"));
        }
        // 10^2 to 10^12 billionths: at most 999999 * 10^12, which fits
        let power = u32::try_from(scale + 9).map_err(|_| XmlError::Element("currencyScale"))?;
        factor.checked_mul(10i64.pow(power)).ok_or(XmlError::Element("currencyFactor"))
    }

    fn optional_amount(&self, name: &str) -> Result<i64, XmlError> {
        self.child(name).map_or(Ok(0), Element::amount)
    }
}

impl ChargeMessage {
    /// Reads a document.
    pub fn from_xml(document: &[u8]) -> Result<ChargeMessage, XmlError> {
        let root = parse(document)?;
        let message = root.children.iter().find_map(|child| match child.name.as_str() {
            "crgt" => Some(tariff(child).map(ChargeMessage::Tariff)),
            "aocrg" => Some(add_on(child).map(ChargeMessage::AddOn)),
            "crga" => Some(Ok(ChargeMessage::Acknowledge)),
            "start" => Some(Ok(ChargeMessage::Start)),
            "stop" => Some(Ok(ChargeMessage::Stop)),
            _ => None,
        });
        message.unwrap_or(Err(XmlError::NoMessage))
    }

    /// The document.
    pub fn to_xml(&self) -> Result<String, XmlError> {
        let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<messageType>");
        match self {
            ChargeMessage::Tariff(tariff) => write_tariff(&mut xml, tariff)?,
            ChargeMessage::AddOn(amount) => {
                xml.push_str("<aocrg><addOncharge><addOnChargeCurrency>");
                write_amount(&mut xml, amount.nanos)?;
                let _ =
                    write!(xml, "</addOnChargeCurrency></addOncharge><currency>{}</currency></aocrg>", amount.currency);
            }
            ChargeMessage::Acknowledge => xml.push_str("<crga/>"),
            ChargeMessage::Start => xml.push_str("<start/>"),
            ChargeMessage::Stop => xml.push_str("<stop/>"),
        }
        xml.push_str("</messageType>\n");
        Ok(xml)
    }
}

fn currency(element: &Element) -> Result<Currency, XmlError> {
    let currency = element.child("currency").ok_or(XmlError::Element("currency"))?;
    currency.text.trim().parse().map_err(|_| XmlError::Element("currency"))
}

fn tariff(crgt: &Element) -> Result<ChargeTariff, XmlError> {
    let charging = crgt.child("chargingTariff").ok_or(XmlError::Element("chargingTariff"))?;
    let tariff = charging.child("currentTariffCurrency").ok_or(XmlError::Element("currentTariffCurrency"))?;
    let steps =
        tariff.children.iter().filter(|child| child.name == "communicationChargeSequenceCurrency").map(|step| {
            Ok(Step {
                price_nanos: step
                    .child("currencyFactorScale")
                    .ok_or(XmlError::Element("currencyFactorScale"))?
                    .amount()?,
                duration_seconds: step.number("tariffDuration")?,
                once: step.child("subTariffControl").is_some_and(|control| control.text.trim() == "1"),
            })
        });
    let steps = steps.collect::<Result<Vec<Step>, XmlError>>()?;
    if steps.len() > MAXIMUM_STEPS {
        return Err(XmlError::TooLarge);
    }
    Ok(ChargeTariff {
        currency: currency(crgt)?,
        call_attempt_nanos: tariff.optional_amount("callAttemptChargeCurrency")?,
        call_setup_nanos: tariff.optional_amount("callSetupChargeCurrency")?,
        steps,
    })
}

fn add_on(aocrg: &Element) -> Result<Money, XmlError> {
    let amount = aocrg.child("addOncharge").and_then(|charge| charge.child("addOnChargeCurrency"));
    let nanos = amount.ok_or(XmlError::Element("addOnChargeCurrency"))?.amount()?;
    Ok(Money::from_nanos(nanos, currency(aocrg)?))
}

fn write_tariff(xml: &mut String, tariff: &ChargeTariff) -> Result<(), XmlError> {
    xml.push_str("<crgt><chargingTariff><currentTariffCurrency>");
    for step in &tariff.steps {
        xml.push_str("<communicationChargeSequenceCurrency><currencyFactorScale>");
        write_amount(xml, step.price_nanos)?;
        let _ = write!(
            xml,
            "</currencyFactorScale><tariffDuration>{}</tariffDuration><subTariffControl>{}</subTariffControl>\
             </communicationChargeSequenceCurrency>",
            step.duration_seconds,
            u8::from(step.once)
        );
    }
    let once = [
        ("callAttemptChargeCurrency", tariff.call_attempt_nanos),
        ("callSetupChargeCurrency", tariff.call_setup_nanos),
    ];
    for (name, nanos) in once.into_iter().filter(|(_, nanos)| *nanos != 0) {
        let _ = write!(xml, "<{name}>");
        write_amount(xml, nanos)?;
        let _ = write!(xml, "</{name}>");
    }
    let _ = write!(xml, "</currentTariffCurrency></chargingTariff><currency>{}</currency></crgt>", tariff.currency);
    Ok(())
}

fn write_amount(xml: &mut String, nanos: i64) -> Result<(), XmlError> {
    let (mut factor, mut scale) = (nanos, -9);
    while factor != 0 && factor % 10 == 0 && scale < 3 {
        factor /= 10;
        scale += 1;
    }
    // the smallest scale is -7: what is left below cannot be written, and zero is zero at every scale
    if factor == 0 {
        scale = 0;
    }
    if !(0..=999_999).contains(&factor) || scale < -7 {
        return Err(XmlError::Unwritable(nanos));
    }
    let _ = write!(xml, "<currencyFactor>{factor}</currencyFactor><currencyScale>{scale}</currencyScale>");
    Ok(())
}

/// The root with everything in it. Prefixes are dropped; entities other than the five of XML, and document types, are refused.
fn parse(document: &[u8]) -> Result<Element, XmlError> {
    if document.len() > MAXIMUM_XML_OCTETS {
        return Err(XmlError::TooLarge);
    }
    let text = std::str::from_utf8(document).map_err(|_| XmlError::Malformed)?;
    let mut reader = Reader::from_str(text.trim());
    let mut open: Vec<Element> = Vec::new();
    let mut count = 0;
    loop {
        let event = reader.read_event().map_err(|_| XmlError::Malformed)?;
        let closed = match event {
            Event::Start(ref start) | Event::Empty(ref start) => {
                count += 1;
                if open.len() >= MAXIMUM_DEPTH || count > MAXIMUM_ELEMENTS {
                    return Err(XmlError::TooLarge);
                }
                let name = start.local_name();
                let name = name.as_ref().to_owned();
                open.push(Element { name, ..Element::default() });
                matches!(event, Event::Empty(_))
            }
            Event::Text(text) => {
                let text = text.to_string();
                match open.last_mut() {
                    Some(element) => element.text.push_str(&text),
                    None if text.trim().is_empty() => {}
                    None => return Err(XmlError::Malformed),
                }
                false
            }
            Event::End(_) => true,
            Event::Decl(_) | Event::Comment(_) => false,
            Event::Eof => return Err(XmlError::Malformed),
            _ => return Err(XmlError::Malformed),
        };
        if closed {
            let element = open.pop().ok_or(XmlError::Malformed)?;
            match open.last_mut() {
                Some(parent) => parent.children.push(element),
                None => return Ok(element),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn example() -> ChargeTariff {
        ChargeTariff { call_setup_nanos: 50_000_000, ..ChargeTariff::per_second(1_250_000, Currency::EUR) }
    }

    #[test]
    fn messages_are_read_as_they_were_written() {
        for message in [
            ChargeMessage::Tariff(example()),
            ChargeMessage::AddOn(Money::from_nanos(250_000_000, Currency::EUR)),
            ChargeMessage::AddOn(Money::from_nanos(0, Currency::EUR)),
            ChargeMessage::AddOn(Money::from_nanos(5_000 * 1_000_000_000, Currency::EUR)),
            ChargeMessage::Acknowledge,
            ChargeMessage::Start,
            ChargeMessage::Stop,
        ] {
            let xml = message.to_xml().unwrap();
            assert_eq!(ChargeMessage::from_xml(xml.as_bytes()), Ok(message), "{xml}");
        }
    }

    #[test]
    fn prefixes_comments_and_line_feeds_do_not_matter() {
        let xml = b"<!-- c -->\n<s:messageType xmlns:s='x'>\n <s:start/>\n</s:messageType>";
        assert_eq!(ChargeMessage::from_xml(xml), Ok(ChargeMessage::Start));
    }

    #[test]
    fn what_cannot_be_written_exactly_is_refused() {
        let add_on = |nanos| ChargeMessage::AddOn(Money::from_nanos(nanos, Currency::EUR)).to_xml();
        assert!(add_on(100).is_ok());
        assert_eq!(add_on(10), Err(XmlError::Unwritable(10)));
        assert!(add_on(999_999).is_err());
        assert!(add_on(99_999_900).is_ok());
        assert_eq!(add_on(-100), Err(XmlError::Unwritable(-100)));
    }

    #[test]
    fn hostile_documents_are_refused() {
        let deep = format!("{}{}", "<a>".repeat(17), "</a>".repeat(17));
        for bad in [
            "",
            "x",
            "<a>",
            "<a></b>",
            "<!DOCTYPE a [<!ENTITY e 'x'>]><messageType><start/></messageType>",
            "<messageType>&e;<start/></messageType>",
            deep.as_str(),
            "<messageType><other/></messageType>",
            "<messageType><crgt/></messageType>",
        ] {
            assert!(ChargeMessage::from_xml(bad.as_bytes()).is_err(), "{bad}");
        }
        let start = "<messageType><start/></messageType>";
        let padded = |length: usize| format!("{start}{}", " ".repeat(length - start.len()));
        assert!(ChargeMessage::from_xml(padded(MAXIMUM_XML_OCTETS).as_bytes()).is_ok());
        assert_eq!(ChargeMessage::from_xml(padded(MAXIMUM_XML_OCTETS + 1).as_bytes()), Err(XmlError::TooLarge));
    }

    proptest! {
        #[test]
        fn arbitrary_octets_never_panic(octets in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = ChargeMessage::from_xml(&octets);
        }

        #[test]
        fn damaged_messages_never_panic(position in 0..500usize, octet: u8) {
            let mut xml = ChargeMessage::Tariff(example()).to_xml().unwrap().into_bytes();
            let position = position % xml.len();
            xml[position] = octet;
            let _ = ChargeMessage::from_xml(&xml);
        }

        #[test]
        fn every_factor_and_scale_round_trips(factor in 0..=999_999i64, power in 2..=12u32) {
            let message = ChargeMessage::AddOn(Money::from_nanos(factor * 10i64.pow(power), Currency::EUR));
            let xml = message.to_xml().unwrap();
            prop_assert_eq!(ChargeMessage::from_xml(xml.as_bytes()), Ok(message));
        }
    }
}
