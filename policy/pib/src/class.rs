//! The provisioning classes as data. One list gives each class its table (name, OID, columns, types, ranges, defaults),
//! its typed struct, and encode and decode; nothing about a class is written twice.

use crate::ber::Value;
use crate::error::{ClassError, PibError};
use crate::oid::Oid;

/// The abstract type of a column (RFC 3159 §7), as it is checked on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syntax {
    /// Unsigned32 and what is derived from it (InstanceId, TagId, ports). Sent with tag 42, taken with 02 too.
    Unsigned32,
    /// Integer32 and enumerations.
    Integer32,
    /// 1 true, 2 false.
    TruthValue,
    /// A pointer to an instance, a class or an algorithm.
    ObjectId,
    /// Strings, addresses, BITS.
    Octets,
    /// Unsigned64, Usage64.
    Unsigned64,
}

/// Which direction a class may travel in (PIB-ACCESS).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// PDP to PEP.
    Install,
    /// PEP to PDP.
    Notify,
    /// Both.
    InstallNotify,
    /// PEP to PDP, in accounting reports.
    ReportOnly,
}

/// One column of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// The PIB's name.
    pub name: &'static str,
    /// Its sub-identifier under the entry.
    pub number: u16,
    /// Type.
    pub syntax: Syntax,
    /// Smallest number, or shortest length of octets.
    pub minimum: i64,
    /// Largest number, or longest length of octets.
    pub maximum: i64,
}

/// One provisioning class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class {
    /// Name of its entry.
    pub name: &'static str,
    /// OID of its entry: a PRID is this plus the instance number.
    pub oid: &'static [u32],
    /// Direction.
    pub access: Access,
    /// Whether the first attribute is the instance number itself. Classes that extend another one have none.
    pub indexed: bool,
    /// Columns, without the index.
    pub columns: &'static [Column],
}

impl Class {
    /// The PRID of one instance.
    pub fn prid(&self, instance: u32) -> Oid {
        Oid::new(self.oid).child(instance)
    }

    /// The class that a PRID or a class OID belongs to.
    pub fn of(prid: &Oid) -> Option<&'static Class> {
        let (class, _) = prid.split_instance()?;
        CLASSES.iter().copied().find(|known| known.oid == class)
    }
}

/// A Rust type that stands for one [`Syntax`].
trait Attribute: Sized {
    const SYNTAX: Syntax;
    fn to_value(&self) -> Value;
    /// `None`: the wrong type.
    fn from_value(value: &Value) -> Option<Self>;
    /// The number or length that a range applies to.
    fn measure(&self) -> i64;
}

impl Attribute for u32 {
    const SYNTAX: Syntax = Syntax::Unsigned32;
    fn to_value(&self) -> Value {
        Value::Unsigned(*self)
    }
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Unsigned(number) => Some(*number),
            // RFC 3084 §4.3 shows Unsigned32 under the INTEGER tag.
            Value::Integer(number) => u32::try_from(*number).ok(),
            _ => None,
        }
    }
    fn measure(&self) -> i64 {
        i64::from(*self)
    }
}

impl Attribute for i32 {
    const SYNTAX: Syntax = Syntax::Integer32;
    fn to_value(&self) -> Value {
        Value::Integer(*self)
    }
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Integer(number) => Some(*number),
            Value::Unsigned(number) => i32::try_from(*number).ok(),
            _ => None,
        }
    }
    fn measure(&self) -> i64 {
        i64::from(*self)
    }
}

impl Attribute for bool {
    const SYNTAX: Syntax = Syntax::TruthValue;
    fn to_value(&self) -> Value {
        Value::Integer(if *self { 1 } else { 2 })
    }
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Integer(1) => Some(true),
            Value::Integer(2) => Some(false),
            _ => None,
        }
    }
    fn measure(&self) -> i64 {
        0
    }
}

impl Attribute for Oid {
    const SYNTAX: Syntax = Syntax::ObjectId;
    fn to_value(&self) -> Value {
        Value::ObjectId(self.clone())
    }
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::ObjectId(oid) = value { Some(oid.clone()) } else { None }
    }
    fn measure(&self) -> i64 {
        0
    }
}

impl Attribute for Vec<u8> {
    const SYNTAX: Syntax = Syntax::Octets;
    fn to_value(&self) -> Value {
        Value::Octets(self.clone())
    }
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Octets(octets) = value { Some(octets.clone()) } else { None }
    }
    fn measure(&self) -> i64 {
        i64::try_from(self.len()).unwrap_or(i64::MAX)
    }
}

impl Attribute for u64 {
    const SYNTAX: Syntax = Syntax::Unsigned64;
    fn to_value(&self) -> Value {
        Value::Unsigned64(*self)
    }
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Unsigned64(number) = value { Some(*number) } else { None }
    }
    fn measure(&self) -> i64 {
        0
    }
}

/// Largest value of an Unsigned32 column.
const U32: i64 = u32::MAX as i64;

fn zero() -> Oid {
    Oid::zero_dot_zero()
}

fn attribute<T: Attribute>(
    prid: &Oid,
    column: &Column,
    values: &mut core::slice::Iter<'_, Value>,
    default: T,
) -> Result<T, PibError> {
    let wrong = |code, sub| PibError::class(prid.clone(), code, sub);
    let value = values.next().ok_or_else(|| wrong(ClassError::TooFewAttrs, 0))?;
    let typed = match value {
        Value::Null => default,
        // TruthValue is an enumeration: a number that is neither is a bad value, not a bad type.
        Value::Integer(number) if T::SYNTAX == Syntax::TruthValue && !(1..=2).contains(number) => {
            return Err(wrong(ClassError::AttrValueInvalid, column.number));
        }
        value => T::from_value(value).ok_or_else(|| wrong(ClassError::InvalidAttrType, column.number))?,
    };
    if (column.minimum..=column.maximum).contains(&typed.measure()) {
        Ok(typed)
    } else if column.syntax == Syntax::Octets {
        Err(wrong(ClassError::AttrMaxLengthExceeded, column.number))
    } else {
        Err(wrong(ClassError::AttrValueInvalid, column.number))
    }
}

macro_rules! classes {
    ($(
        $(#[$meta:meta])*
        $class:ident $entry:literal [$($sub:literal),+] $access:ident indexed $indexed:literal {
            $($(#[$fmeta:meta])* $number:literal $field:ident : $type:ty [$min:expr, $max:expr] = $default:expr, $column:literal;)*
        }
    )+) => {
        $(
            $(#[$meta])*
            #[derive(Debug, Clone, PartialEq, Eq)]
            pub struct $class {
                /// Instance number: the last part of the PRID.
                pub instance: u32,
                $($(#[$fmeta])* pub $field: $type,)*
            }

            impl $class {
                /// The class's table.
                pub const CLASS: Class = Class {
                    name: $entry,
                    oid: &[1, 3, 6, 1, 2, 2, $($sub),+],
                    access: Access::$access,
                    indexed: $indexed,
                    columns: &[$(Column {
                        name: $column,
                        number: $number,
                        syntax: <$type as Attribute>::SYNTAX,
                        minimum: $min as i64,
                        maximum: $max as i64,
                    }),*],
                };

                /// The PRID of instance `instance`.
                pub fn prid(instance: u32) -> Oid {
                    Self::CLASS.prid(instance)
                }

                fn to_values(&self) -> Vec<Value> {
                    let mut values = Vec::with_capacity(Self::CLASS.columns.len() + 1);
                    if Self::CLASS.indexed {
                        values.push(Value::Unsigned(self.instance));
                    }
                    $(values.push(self.$field.to_value());)*
                    values
                }

                #[allow(unused_mut, unused_variables, unused_assignments)]
                fn from_values(prid: &Oid, instance: u32, values: &[Value]) -> Result<Self, PibError> {
                    let mut values = values.iter();
                    if Self::CLASS.indexed {
                        let column = Column { name: "", number: 1, syntax: Syntax::Unsigned32, minimum: 0, maximum: U32 };
                        let index = attribute::<u32>(prid, &column, &mut values, instance)?;
                        if index != instance {
                            return Err(PibError::class(prid.clone(), ClassError::AttrValueInvalid, 1));
                        }
                    }
                    let mut columns = Self::CLASS.columns.iter();
                    Ok($class {
                        instance,
                        $($field: match columns.next() {
                            Some(column) => attribute(prid, column, &mut values, $default)?,
                            None => $default,
                        },)*
                    })
                }
            }

            impl From<$class> for Row {
                fn from(row: $class) -> Row { Row::$class(row) }
            }
        )+

        /// Every class this program knows.
        pub const CLASSES: &[&Class] = &[$(&$class::CLASS),+];

        /// One instance of a class.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Row { $(#[doc = $entry] $class($class),)+ }

        impl Row {
            /// The class's table.
            pub fn class(&self) -> &'static Class {
                match self { $(Row::$class(_) => &$class::CLASS,)+ }
            }

            /// The instance number.
            pub fn instance(&self) -> u32 {
                match self { $(Row::$class(row) => row.instance,)+ }
            }

            /// Every attribute, in column order: the EPD.
            pub fn to_values(&self) -> Vec<Value> {
                match self { $(Row::$class(row) => row.to_values(),)+ }
            }

            /// A row from a binding, checked against its table. The error is what a failure RPT says.
            pub fn from_values(prid: &Oid, values: &[Value]) -> Result<Row, PibError> {
                let unknown = || PibError::class(prid.clone(), ClassError::UnknownPrc, 0);
                let (class, instance) = prid.split_instance().ok_or_else(unknown)?;
                $(if class == $class::CLASS.oid {
                    return $class::from_values(prid, instance, values).map(Row::$class);
                })+
                Err(unknown())
            }
        }
    };
}

impl Row {
    /// The row's name.
    pub fn prid(&self) -> Oid {
        self.class().prid(self.instance())
    }

    /// Every instance that this row points at (`0.0` left out), with the column that does. Algorithm names and class
    /// names are object identifiers too, but no instances; they are left out.
    pub fn references(&self) -> Vec<(u16, Oid)> {
        let class = self.class();
        let values = self.to_values();
        let attributes = values.iter().skip(usize::from(class.indexed));
        class
            .columns
            .iter()
            .zip(attributes)
            .filter_map(|(column, value)| match value {
                Value::ObjectId(oid) if !oid.is_zero_dot_zero() && Class::of(oid).is_some() => {
                    Some((column.number, oid.clone()))
                }
                _ => None,
            })
            .collect()
    }
}

classes! {
    /// Which classes a PEP supports (RFC 3318 §5).
    FrwkPrcSupport "frwkPrcSupportEntry" [2, 1, 1, 1] Notify indexed true {
        /// OID of the supported class's table.
        2 supported_prc: Oid [0, 0] = zero(), "frwkPrcSupportSupportedPrc";
        /// One bit for each attribute.
        3 supported_attributes: Vec<u8> [0, 65535] = Vec::new(), "frwkPrcSupportSupportedAttrs";
    }
    /// The incarnation of the installed PIB.
    FrwkPibIncarnation "frwkPibIncarnationEntry" [2, 1, 2, 1] InstallNotify indexed true {
        /// Name, for people.
        2 name: Vec<u8> [0, 255] = Vec::new(), "frwkPibIncarnationName";
        /// Identifier, for the PDP.
        3 id: Vec<u8> [0, 255] = Vec::new(), "frwkPibIncarnationId";
        /// 1 expireNever, 2 expireImmediate, 3 expireOnTimeout.
        4 longevity: i32 [1, 3] = 1, "frwkPibIncarnationLongevity";
        /// Seconds after loss of the PDP.
        5 ttl_seconds: u32 [0, U32] = 0, "frwkPibIncarnationTtl";
        /// Whether in the set of contexts.
        6 in_context_set: bool [0, 0] = true, "frwkPibIncarnationInCtxtSet";
        /// Whether active.
        7 active: bool [0, 0] = true, "frwkPibIncarnationActive";
        /// Whether the request holds the full state.
        8 full_state: bool [0, 0] = true, "frwkPibIncarnationFullState";
    }
    /// What the device is.
    FrwkDeviceId "frwkDeviceIdEntry" [2, 1, 3, 1] Notify indexed true {
        /// Hardware and software in words.
        2 description: Vec<u8> [1, 255] = Vec::new(), "frwkDeviceIdDescr";
        /// Largest COPS message in octets.
        3 message_octets_max: u32 [64, U32] = 65536, "frwkDeviceIdMaxMsg";
        /// Most request states.
        4 contexts_max: u32 [1, U32] = 1, "frwkDeviceIdMaxContexts";
    }
    /// A limit of the device.
    FrwkCompLimits "frwkCompLimitsEntry" [2, 1, 4, 1] Notify indexed true {
        /// Class with the limit.
        2 component: Oid [0, 0] = zero(), "frwkCompLimitsComponent";
        /// Its attribute, 0 for the class.
        3 attribute: u32 [0, U32] = 0, "frwkCompLimitsAttrPos";
        /// Whether the limit is what is not supported.
        4 negation: bool [0, 0] = false, "frwkCompLimitsNegation";
        /// Kind of limit.
        5 kind: i32 [1, 255] = 1, "frwkCompLimitsType";
        /// Sub-kind.
        6 sub_kind: i32 [1, 255] = 1, "frwkCompLimitsSubType";
        /// The limit's value.
        7 guidance: Vec<u8> [0, 65535] = Vec::new(), "frwkCompLimitsGuidance";
    }
    /// A named set of capabilities.
    FrwkCapabilitySet "frwkCapabilitySetEntry" [2, 2, 1, 1] Notify indexed true {
        /// Name.
        2 name: Vec<u8> [1, 255] = Vec::new(), "frwkCapabilitySetName";
        /// A row of a capability class.
        3 capability: Oid [0, 0] = zero(), "frwkCapabilitySetCapability";
    }
    /// Roles that interfaces with a capability set have.
    FrwkRoleCombo "frwkRoleComboEntry" [2, 2, 2, 1] InstallNotify indexed true {
        /// Roles joined by `+`.
        2 roles: Vec<u8> [0, 255] = Vec::new(), "frwkRoleComboRoles";
        /// Name of the capability set.
        3 capability_set: Vec<u8> [0, 255] = Vec::new(), "frwkRoleComboCapSetName";
    }
    /// The interface of a role combination of the same instance number.
    FrwkIfRoleCombo "frwkIfRoleComboEntry" [2, 2, 3, 1] InstallNotify indexed false {
        /// MIB-II index.
        1 ifindex: u32 [1, U32] = 0, "frwkIfRoleComboIfIndex";
    }
    /// What all filters share; every filter row extends one of these with its own instance number.
    FrwkBaseFilter "frwkBaseFilterEntry" [2, 3, 1, 1] Install indexed true {
        /// Whether a match counts as none.
        2 negation: bool [0, 0] = false, "frwkBaseFilterNegation";
    }
    /// An IP filter; extends the [`FrwkBaseFilter`] of the same instance number.
    FrwkIpFilter "frwkIpFilterEntry" [2, 3, 2, 1] Install indexed false {
        /// InetAddressType: 1 IPv4, 2 IPv6.
        1 address_type: i32 [0, 16] = 1, "frwkIpFilterAddrType";
        /// 4 or 16 octets.
        2 destination: Vec<u8> [0, 255] = Vec::new(), "frwkIpFilterDstAddr";
        /// Bits; 0 matches any address.
        3 destination_prefix_bits: u32 [0, 128] = 0, "frwkIpFilterDstPrefixLength";
        /// 4 or 16 octets.
        4 source: Vec<u8> [0, 255] = Vec::new(), "frwkIpFilterSrcAddr";
        /// Bits; 0 matches any address.
        5 source_prefix_bits: u32 [0, 128] = 0, "frwkIpFilterSrcPrefixLength";
        /// -1 for any.
        6 dscp: i32 [-1, 63] = -1, "frwkIpFilterDscp";
        /// IPv6 flow label, -1 for any.
        7 flow_label: i32 [-1, 1048575] = -1, "frwkIpFilterFlowId";
        /// 255 for any.
        8 protocol: u32 [0, 255] = 255, "frwkIpFilterProtocol";
        /// Lowest destination port.
        9 destination_port_min: u32 [0, 65535] = 0, "frwkIpFilterDstL4PortMin";
        /// Highest destination port.
        10 destination_port_max: u32 [0, 65535] = 65535, "frwkIpFilterDstL4PortMax";
        /// Lowest source port.
        11 source_port_min: u32 [0, 65535] = 0, "frwkIpFilterSrcL4PortMin";
        /// Highest source port.
        12 source_port_max: u32 [0, 65535] = 65535, "frwkIpFilterSrcL4PortMax";
    }
    /// Directions an interface type handles.
    DsBaseIfCaps "dsBaseIfCapsEntry" [4, 1, 1, 1] Notify indexed true {
        /// 1 in, 2 out, 3 both.
        2 direction: i32 [1, 3] = 3, "dsBaseIfCapsDirection";
    }
    /// What the classifier can look at.
    DsIfClassificationCaps "dsIfClassificationCapsEntry" [4, 1, 2, 1] Notify indexed false {
        /// BITS.
        1 spec: Vec<u8> [0, 255] = Vec::new(), "dsIfClassificationCapsSpec";
    }
    /// What the meters can do.
    DsIfMeteringCaps "dsIfMeteringCapsEntry" [4, 1, 3, 1] Notify indexed false {
        /// BITS.
        1 spec: Vec<u8> [0, 255] = Vec::new(), "dsIfMeteringCapsSpec";
    }
    /// Where packets of some roles and one direction start.
    DsDataPath "dsDataPathEntry" [4, 2, 1, 1] Install indexed true {
        /// Name of the capability set.
        2 capability_set: Vec<u8> [0, 255] = Vec::new(), "dsDataPathCapSetName";
        /// Roles.
        3 roles: Vec<u8> [0, 255] = Vec::new(), "dsDataPathRoles";
        /// 1 in, 2 out.
        4 direction: i32 [1, 2] = 1, "dsDataPathIfDirection";
        /// First element.
        5 start: Oid [0, 0] = zero(), "dsDataPathStart";
    }
    /// A classifier: the elements with its id.
    DsClfr "dsClfrEntry" [4, 2, 2, 1] Install indexed true {
        /// What its elements name.
        2 id: u32 [0, U32] = 0, "dsClfrId";
    }
    /// One branch of a classifier; the highest precedence that matches wins.
    DsClfrElement "dsClfrElementEntry" [4, 2, 3, 1] Install indexed true {
        /// The classifier it belongs to.
        2 classifier_id: u32 [0, U32] = 0, "dsClfrElementClfrId";
        /// Higher wins.
        3 precedence: u32 [1, U32] = 0, "dsClfrElementPrecedence";
        /// Next element; `0.0` ends the path.
        4 next: Oid [0, 0] = zero(), "dsClfrElementNext";
        /// The filter; `0.0` matches what no other element does.
        5 specific: Oid [0, 0] = zero(), "dsClfrElementSpecific";
    }
    /// A meter.
    DsMeter "dsMeterEntry" [4, 2, 4, 1] Install indexed true {
        /// Next element of conforming packets.
        2 succeed_next: Oid [0, 0] = zero(), "dsMeterSucceedNext";
        /// Next element of the others.
        3 fail_next: Oid [0, 0] = zero(), "dsMeterFailNext";
        /// Its parameters.
        4 specific: Oid [0, 0] = zero(), "dsMeterSpecific";
    }
    /// Parameters of a token bucket.
    DsTbParam "dsTBParamEntry" [4, 2, 5, 1] Install indexed true {
        /// Algorithm: [`crate::flow::algorithm`].
        2 kind: Oid [0, 0] = zero(), "dsTBParamType";
        /// Kilobits per second.
        3 rate_kbps: u32 [1, U32] = 0, "dsTBParamRate";
        /// Octets.
        4 burst_octets: u32 [0, U32] = 0, "dsTBParamBurstSize";
        /// Microseconds.
        5 interval_us: u32 [1, U32] = 1_000_000, "dsTBParamInterval";
    }
    /// An action and what comes after it.
    DsAction "dsActionEntry" [4, 2, 6, 1] Install indexed true {
        /// Next element.
        2 next: Oid [0, 0] = zero(), "dsActionNext";
        /// What to do.
        3 specific: Oid [0, 0] = zero(), "dsActionSpecific";
    }
    /// A mark.
    DsDscpMarkAct "dsDscpMarkActEntry" [4, 2, 7, 1] Install indexed true {
        /// DSCP to write.
        2 dscp: i32 [0, 63] = -1, "dsDscpMarkActDscp";
    }
    /// A dropper.
    DsAlgDrop "dsAlgDropEntry" [4, 2, 8, 1] Install indexed true {
        /// 1 other, 2 tailDrop, 3 headDrop, 4 randomDrop, 5 alwaysDrop, 6 mQDrop.
        2 kind: i32 [1, 6] = 0, "dsAlgDropType";
        /// Next element.
        3 next: Oid [0, 0] = zero(), "dsAlgDropNext";
        /// The queue it watches.
        4 queue_measure: Oid [0, 0] = zero(), "dsAlgDropQMeasure";
        /// Octets from which tail and head drop begin.
        5 queue_threshold_octets: u32 [0, U32] = 0, "dsAlgDropQThreshold";
        /// A [`DsRandomDrop`].
        6 specific: Oid [0, 0] = zero(), "dsAlgDropSpecific";
    }
    /// Parameters of random drop.
    DsRandomDrop "dsRandomDropEntry" [4, 2, 10, 1] Install indexed true {
        /// Lower threshold in octets.
        2 min_threshold_octets: u32 [0, U32] = 0, "dsRandomDropMinThreshBytes";
        /// Lower threshold in packets.
        3 min_threshold_packets: u32 [0, U32] = 0, "dsRandomDropMinThreshPkts";
        /// Upper threshold in octets.
        4 max_threshold_octets: u32 [0, U32] = 0, "dsRandomDropMaxThreshBytes";
        /// Upper threshold in packets.
        5 max_threshold_packets: u32 [0, U32] = 0, "dsRandomDropMaxThreshPkts";
        /// Drops in 1000 at the upper threshold.
        6 probability_max_per_mille: u32 [0, 1000] = 0, "dsRandomDropProbMax";
        /// Weight of the past in the average, in 1/65536.
        7 weight: u32 [0, U32] = 0, "dsRandomDropWeight";
        /// Samples per second, 0 for every packet.
        8 samples_per_second: u32 [0, 1_000_000] = 0, "dsRandomDropSamplingRate";
    }
    /// A queue.
    DsQ "dsQEntry" [4, 2, 11, 1] Install indexed true {
        /// Its scheduler.
        2 next: Oid [0, 0] = zero(), "dsQNext";
        /// Priority or least rate.
        3 min_rate: Oid [0, 0] = zero(), "dsQMinRate";
        /// Highest rate.
        4 max_rate: Oid [0, 0] = zero(), "dsQMaxRate";
    }
    /// A scheduler.
    DsScheduler "dsSchedulerEntry" [4, 2, 12, 1] Install indexed true {
        /// Next scheduler; `0.0` is the interface.
        2 next: Oid [0, 0] = zero(), "dsSchedulerNext";
        /// Algorithm: [`crate::flow::algorithm`].
        3 method: Oid [0, 0] = zero(), "dsSchedulerMethod";
        /// Only with more than one level.
        4 min_rate: Oid [0, 0] = zero(), "dsSchedulerMinRate";
        /// Only with more than one level.
        5 max_rate: Oid [0, 0] = zero(), "dsSchedulerMaxRate";
    }
    /// Priority and least rate of a queue.
    DsMinRate "dsMinRateEntry" [4, 2, 13, 1] Install indexed true {
        /// Higher is served first.
        2 priority: u32 [0, U32] = 0, "dsMinRatePriority";
        /// Kilobits per second, 0 for none.
        3 absolute_kbps: u32 [0, U32] = 0, "dsMinRateAbsolute";
        /// In 1/1000 of the line.
        4 relative_per_mille: u32 [0, U32] = 0, "dsMinRateRelative";
    }
    /// Highest rate of a queue.
    DsMaxRate "dsMaxRateEntry" [4, 2, 14, 1] Install indexed true {
        /// Rows with the same id are one multi-rate shaper.
        2 id: u32 [0, U32] = 0, "dsMaxRateId";
        /// Level in the shaper.
        3 level: u32 [1, 32] = 1, "dsMaxRateLevel";
        /// Kilobits per second.
        4 absolute_kbps: u32 [0, U32] = 0, "dsMaxRateAbsolute";
        /// In 1/1000 of the line.
        5 relative_per_mille: u32 [0, U32] = 0, "dsMaxRateRelative";
        /// Burst in octets.
        6 threshold_octets: u32 [0, U32] = 0, "dsMaxRateThreshold";
    }
    /// Packets and octets that a filter or meter of instance `reference` saw (RFC 3571).
    FrwkFeedbackTraffic "frwkFeedbackTrafficEntry" [5, 2, 1, 1] ReportOnly indexed true {
        /// What it is about: the flow's instance number.
        2 reference: u32 [0, U32] = 0, "frwkFeedbackTrafficLinkRefID";
        /// Packets.
        3 packets: u64 [0, 0] = 0, "frwkFeedbackTrafficPacketCount";
        /// Octets of IP.
        4 octets: u64 [0, 0] = 0, "frwkFeedbackTrafficByteCount";
    }
}
