//! Reads what a request says: the room in its path, and the fields of its body one by one, so that every fault is named.

use std::{collections::BTreeSet, ops::RangeInclusive};

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Request},
    http::{Uri, request::Parts},
};
use roomful_sfu::Selection;
use roomful_types::{MediaKind, ParticipantId, Permissions, RoomId};
use serde_json::{Map, Value};

use crate::error::{ApiError, Problem, Source, excerpt};

/// The room in the path: its id or its unique name.
#[derive(Debug)]
pub(super) struct RoomName(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for RoomName {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(name) = Path::from_request_parts(parts, state).await?;
        Ok(Self(name))
    }
}

/// The fields of a body, and what is wrong with those that were read.
///
/// Every reader gives `None` for a field that is absent or wrong and `Some(None)` for one that is null. A wrong one is
/// noted; [`finish`](Self::finish) tells.
#[derive(Debug, Default)]
pub(super) struct Fields {
    /// JSON pointer to the object, empty for the body itself.
    at: String,
    values: Map<String, Value>,
    problems: Vec<Problem>,
}

/// What a reader of [`Fields`] gives.
pub(super) type Field<T> = Option<Option<T>>;

impl Fields {
    /// Reads a body. None at all counts as `{}`.
    fn parse(body: &[u8]) -> Result<Self, ApiError> {
        if body.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        match serde_json::from_slice(body).map_err(|error| ApiError::malformed_json(&error))? {
            Value::Object(values) => Ok(Self { values, ..Self::default() }),
            other
            @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
                let detail = format!("the body is {}; it must be an object", describe(&other));
                let problem = Problem::invalid(Source::Pointer(String::new()), detail);
                Err(ApiError::unprocessable(vec![problem]))
            }
        }
    }

    /// Reads a whole number.
    pub(super) fn integer(&mut self, name: &str, range: RangeInclusive<u32>) -> Field<u32> {
        self.read(name, |value| {
            value
                .as_u64()
                .and_then(|number| u32::try_from(number).ok())
                .filter(|number| range.contains(number))
                .ok_or_else(|| format!("must be a whole number from {} to {}", range.start(), range.end()))
        })
    }

    /// Reads true or false.
    pub(super) fn boolean(&mut self, name: &str) -> Field<bool> {
        self.read(name, |value| value.as_bool().ok_or_else(|| "must be true or false".to_owned()))
    }

    /// Reads a text.
    ///
    /// * `check`: says what is wrong with it, in a sentence that names the field.
    pub(super) fn text<E: ToString>(
        &mut self,
        name: &str,
        check: impl FnOnce(&str) -> Result<(), E>,
    ) -> Field<String> {
        let text = self.read(name, |value| match value {
            Value::String(text) => Ok(text.clone()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                Err("must be a string".to_owned())
            }
        });
        if let Some(Some(text)) = &text
            && let Err(fault) = check(text)
        {
            self.invalid(name, fault.to_string());
            return None;
        }
        text
    }

    /// Reads a text that must be there; empty when it is not.
    pub(super) fn required_text(&mut self, name: &str) -> String {
        if self.values.get(name).is_none_or(Value::is_null) {
            let source = Source::Pointer(self.pointer(name));
            self.problems.push(Problem::missing(source, format!("{name} is missing; send a string")));
            return String::new();
        }
        self.text(name, |_| Ok::<_, String>(())).flatten().unwrap_or_default()
    }

    /// Reads a web address; an empty one counts as null.
    pub(super) fn url(&mut self, name: &str) -> Field<String> {
        self.text(name, |url| check_url(name, url)).map(|url| url.filter(|url| !url.is_empty()))
    }

    /// Reads whom a moderator means: `participants`, which is `all` or a list of ids, less those in `exclude`.
    pub(super) fn selection(&mut self) -> Selection {
        let excluded = self.read("exclude", participant_ids).flatten().unwrap_or_default();
        if self.values.get("participants").is_none_or(Value::is_null) {
            let source = Source::Pointer(self.pointer("participants"));
            let detail = "participants is missing; send `all` or a list of ids".to_owned();
            self.problems.push(Problem::missing(source, detail));
        }
        let all = self.values.get("participants").and_then(Value::as_str) == Some("all");
        if all {
            return Selection::AllBut(excluded);
        }
        let mut included = self.read("participants", participant_ids).flatten().unwrap_or_default();
        included.retain(|id| !excluded.contains(id));
        Selection::These(included)
    }

    /// Reads `audio` or `video`.
    pub(super) fn media_kind(&mut self, name: &str) -> Option<MediaKind> {
        self.read(name, |value| match value.as_str() {
            Some("audio") => Ok(MediaKind::Audio),
            Some("video") => Ok(MediaKind::Video),
            _ => Err("must be `audio` or `video`".to_owned()),
        })
        .flatten()
    }

    /// Reads the rights of a participant; each that is absent or null is the default.
    ///
    /// Here a name that is not known is refused, because a right that is withheld under a misspelt name would be granted.
    pub(super) fn permissions(&mut self, name: &str) -> Permissions {
        let granted = Permissions::default();
        let object =
            self.read(name, |value| value.as_object().cloned().ok_or_else(|| "must be an object".to_owned()));
        let Some(Some(values)) = object else {
            return granted;
        };
        let mut fields = Self { at: self.pointer(name), values, problems: Vec::new() };
        let mut flag = |name, default| fields.boolean(name).flatten().unwrap_or(default);
        let permissions = Permissions {
            publish: flag("publish", granted.publish),
            subscribe: flag("subscribe", granted.subscribe),
            message: flag("message", granted.message),
            moderate: flag("moderate", granted.moderate),
        };
        for unknown in fields.values.keys() {
            let detail = format!(
                "`{}` is no permission; there are publish, subscribe, message and moderate",
                excerpt(unknown)
            );
            fields.problems.push(Problem::unknown(Source::Pointer(fields.pointer(unknown)), detail));
        }
        self.problems.append(&mut fields.problems);
        permissions
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// All that is wrong, in the order of reading.
    pub(super) fn finish(self) -> Result<(), ApiError> {
        if self.problems.is_empty() { Ok(()) } else { Err(ApiError::unprocessable(self.problems)) }
    }

    /// Takes a field out and converts it; `convert` says what is allowed when it cannot.
    fn read<T>(&mut self, name: &str, convert: impl FnOnce(&Value) -> Result<T, String>) -> Field<T> {
        let value = self.values.remove(name)?;
        if value.is_null() {
            return Some(None);
        }
        match convert(&value) {
            Ok(value) => Some(Some(value)),
            Err(allowed) => {
                self.invalid(name, format!("{name} is {}; it {allowed}", describe(&value)));
                None
            }
        }
    }

    fn invalid(&mut self, name: &str, detail: String) {
        let source = Source::Pointer(self.pointer(name));
        self.problems.push(Problem::invalid(source, detail));
    }

    fn pointer(&self, name: &str) -> String {
        // RFC 6901 §3: these two stand for themselves only when escaped.
        format!("{}/{}", self.at, excerpt(&name.replace('~', "~0").replace('/', "~1")))
    }
}

impl<S: Send + Sync> FromRequest<S> for Fields {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        Self::parse(&Bytes::from_request(request, state).await?)
    }
}

/// Checks a unique name: 1 ..= 128 characters that can stand in a path and do not read as an id.
pub(super) fn check_unique_name(name: &str) -> Result<(), String> {
    let chars = name.chars().count();
    if chars == 0 || chars > MAX_NAME_CHARS {
        return Err(format!("unique_name has {chars} characters; it must have 1 to {MAX_NAME_CHARS}"));
    }
    if name.chars().any(char::is_control) {
        return Err("unique_name contains a control character; none is allowed".to_owned());
    }
    if name.parse::<RoomId>().is_ok() {
        return Err(
            "unique_name reads as a UUID; choose a name that cannot be taken for a room id".to_owned()
        );
    }
    if matches!(name, "." | "..") {
        return Err("unique_name consists of dots, which mean something else in a path; choose another name"
            .to_owned());
    }
    Ok(())
}

/// Checks an address to send events to: empty, or an absolute one of the web.
fn check_url(name: &str, url: &str) -> Result<(), String> {
    if url.len() > MAX_URL_BYTES {
        return Err(format!("{name} has {} bytes; it must have at most {MAX_URL_BYTES}", url.len()));
    }
    let of_the_web = |uri: &Uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    };
    if url.is_empty() || url.parse().is_ok_and(|uri| of_the_web(&uri)) {
        return Ok(());
    }
    Err(format!("{name} is no web address; it must begin with https:// or http:// and name a host"))
}

/// Names what was sent without repeating it at length.
fn describe(value: &Value) -> String {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => excerpt(&value.to_string()),
        Value::String(_) => "a string".to_owned(),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// Longest unique name, in characters: chosen; a readable sentence.
const MAX_NAME_CHARS: usize = 128;

/// Longest web address, in bytes: chosen; what browsers and proxies have long agreed to handle.
const MAX_URL_BYTES: usize = 2048;

/// Reads a list of participant ids.
fn participant_ids(value: &Value) -> Result<BTreeSet<ParticipantId>, String> {
    let ids = value.as_array().ok_or("must be `all` or a list of participant ids")?;
    let id = |id: &Value| id.as_str().and_then(|id| id.parse().ok());
    ids.iter().map(id).collect::<Option<_>>().ok_or_else(|| "must hold ids, which are UUIDs".to_owned())
}
