//! Names of things: campaigns, lanes, messages, numbers.
//!
//! The id of a message travels to Meta and back in `biz_opaque_callback_data`, so its text form is a contract:
//! `ct1.<installation>.<campaign seq>.<lane>.<index>.<generation>`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Sequence number of a campaign: given once by Redis, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CampaignSeq(pub u32);

/// A lane: the number of its campaign and its own number within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneId {
    /// The campaign that the lane is a part of.
    pub campaign: CampaignSeq,
    /// The lane's number within its campaign, from 0.
    pub lane: u32,
}

/// One message: its lane and its index there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId {
    /// The lane that holds the message.
    pub lane: LaneId,
    /// The message's position in its lane, from 0.
    pub index: u32,
}

/// Meta's id of a sending phone number (`phone_number_id`), digits only.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NumberId(pub Arc<str>);

/// Why a text is not an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is no wire id of this product.
    #[error("not a message id of the form ct1.<installation>.<campaign>.<lane>.<index>.<generation>")]
    NotAWireId,
}

/// The id of one attempt as Meta sees it: the installation, the message and the generation of its claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireId {
    /// Which installation sent it; receipts of another one are ignored.
    pub installation: String,
    /// The message.
    pub message: MessageId,
    /// The generation of the claim under which it was sent.
    pub generation: u8,
}

impl fmt::Display for CampaignSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for LaneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.campaign, self.lane)
    }
}

impl FromStr for LaneId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let (campaign, lane) = text.split_once('.').ok_or(IdError::NotAWireId)?;
        let number = |text: &str| text.parse().map_err(|_| IdError::NotAWireId);
        Ok(Self { campaign: CampaignSeq(number(campaign)?), lane: number(lane)? })
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.lane, self.index)
    }
}

impl fmt::Display for NumberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<&str> for NumberId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for WireId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ct1.{}.{}.{}", self.installation, self.message, self.generation)
    }
}

impl FromStr for WireId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let mut parts = text.split('.');
        let mut next = || parts.next().ok_or(IdError::NotAWireId);
        if next()? != "ct1" {
            return Err(IdError::NotAWireId);
        }
        let installation = next()?.to_owned();
        let mut number = || next()?.parse::<u32>().map_err(|_| IdError::NotAWireId);
        let lane = LaneId { campaign: CampaignSeq(number()?), lane: number()? };
        let message = MessageId { lane, index: number()? };
        let generation = u8::try_from(number()?).map_err(|_| IdError::NotAWireId)?;
        if parts.next().is_some() || installation.is_empty() {
            return Err(IdError::NotAWireId);
        }
        Ok(Self { installation, message, generation })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wire_id_survives_its_text() {
        let text = "ct1.k3v9.7.41.130.2";
        let id: WireId = text.parse().unwrap();
        assert_eq!(id.message.index, 130);
        assert_eq!(id.message.lane, "7.41".parse().unwrap());
        assert_eq!(id.to_string(), text);
    }

    #[test]
    fn what_is_no_wire_id_is_refused() {
        for text in [
            "",
            "ct1",
            "ct2.a.1.2.3.4",
            "ct1..1.2.3.4",
            "ct1.a.1.2.3.256",
            "ct1.a.1.2.3.4.5",
            "ct1.a.x.2.3.4",
        ] {
            assert_eq!(text.parse::<WireId>(), Err(IdError::NotAWireId), "{text}");
        }
    }
}
