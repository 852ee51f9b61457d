//! The compact encoding of what minicbor does not know by itself, and of enumerations that may grow.

use minicbor::{
    Decode, Decoder, Encode, Encoder,
    decode::Error as DecodeError,
    encode::{Error as EncodeError, Write},
};

use crate::{DisconnectReason, ErrorCode, LeaveReason};

type Encoded<W> = Result<(), EncodeError<<W as Write>::Error>>;

/// Text that many hold.
pub(crate) mod text {
    use std::sync::Arc;

    use super::{DecodeError, Decoder, Encoded, Encoder, Write};

    pub(crate) fn encode<C, W: Write>(text: &Arc<str>, e: &mut Encoder<W>, _: &mut C) -> Encoded<W> {
        e.str(text)?.ok()
    }

    pub(crate) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Arc<str>, DecodeError> {
        Ok(d.str()?.into())
    }
}

/// The same where it may be absent.
pub(crate) mod optional_text {
    use std::sync::Arc;

    use super::{DecodeError, Decoder, Encoded, Encoder, Write};

    pub(crate) fn encode<C, W: Write>(text: &Option<Arc<str>>, e: &mut Encoder<W>, _: &mut C) -> Encoded<W> {
        match text {
            Some(text) => e.str(text)?.ok(),
            None => e.null()?.ok(),
        }
    }

    pub(crate) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Option<Arc<str>>, DecodeError> {
        Ok(d.decode::<Option<&str>>()?.map(Into::into))
    }

    #[expect(clippy::unnecessary_wraps, clippy::option_option, reason = "minicbor asks so")]
    pub(crate) const fn nil() -> Option<Option<Arc<str>>> {
        Some(None)
    }

    pub(crate) const fn is_nil(text: &Option<Arc<str>>) -> bool {
        text.is_none()
    }
}

/// A list that many hold, where it may be absent.
pub(crate) mod optional_list {
    use std::sync::Arc;

    use minicbor::{Decode, Encode};

    use super::{DecodeError, Decoder, Encoded, Encoder, Write};

    pub(crate) fn encode<C, T: Encode<C>, W: Write>(
        list: &Option<Arc<[T]>>,
        e: &mut Encoder<W>,
        context: &mut C,
    ) -> Encoded<W> {
        match list {
            Some(list) => e.encode_with(&**list, context)?.ok(),
            None => e.null()?.ok(),
        }
    }

    pub(crate) fn decode<'b, C, T: Decode<'b, C>>(
        d: &mut Decoder<'b>,
        context: &mut C,
    ) -> Result<Option<Arc<[T]>>, DecodeError> {
        Ok(d.decode_with::<C, Option<Vec<T>>>(context)?.map(Into::into))
    }

    #[expect(clippy::unnecessary_wraps, clippy::option_option, reason = "minicbor asks so")]
    pub(crate) const fn nil<T>() -> Option<Option<Arc<[T]>>> {
        Some(None)
    }

    pub(crate) const fn is_nil<T>(list: &Option<Arc<[T]>>) -> bool {
        list.is_none()
    }
}

/// A UUID as its 16 bytes.
pub(crate) mod uuid {
    use uuid::Uuid;

    use super::{DecodeError, Decoder, Encoded, Encoder, Write};

    pub(crate) fn encode<C, W: Write>(uuid: &Uuid, e: &mut Encoder<W>, _: &mut C) -> Encoded<W> {
        e.bytes(uuid.as_bytes())?.ok()
    }

    pub(crate) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Uuid, DecodeError> {
        Uuid::from_slice(d.bytes()?).map_err(|_| DecodeError::message("not the 16 bytes of a UUID"))
    }
}

/// Numbers an enumeration whose last case stands for all that a later version may add. A number is never used again.
macro_rules! growing {
    ($name:ident { $($number:literal $variant:ident,)* }) => {
        impl<C> Encode<C> for $name {
            fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Encoded<W> {
                let number: u8 = match self {
                    $(Self::$variant => $number,)*
                    Self::Unknown => u8::MAX,
                };
                e.u8(number)?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
                Ok(match d.u32()? {
                    $($number => Self::$variant,)*
                    _ => Self::Unknown,
                })
            }
        }
    };
}

growing!(ErrorCode {
    0 UnsupportedVersion,
    1 Unauthorized,
    2 TokenExpired,
    3 Forbidden,
    4 UnknownRoom,
    5 RoomFull,
    6 UnknownParticipant,
    7 UnknownStream,
    8 UnknownRecipient,
    9 KeyInUse,
    10 OwnStream,
    11 AlreadySubscribed,
    12 NotSubscribed,
    13 SlotUnavailable,
    14 MidUnavailable,
    15 TooLarge,
    16 LimitReached,
    17 RateLimited,
    18 BadOffer,
    19 BadRequest,
    20 Internal,
    21 Kicked,
    22 DuplicateIdentity,
    23 ResumeExpired,
    24 MessagesLost,
});

growing!(DisconnectReason {
    0 ProtocolError,
    1 TimedOut,
    2 SessionEnded,
    3 Kicked,
    4 RoomExpired,
    5 Unauthorized,
    6 DuplicateIdentity,
    7 MediaFailed,
});

growing!(LeaveReason {
    0 Kicked,
});
