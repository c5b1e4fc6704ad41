//! A message template as the campaign sees it: fixed text, slots, and the value that fills each slot.
//!
//! Meta holds the approved template; we hold the same text so that a row can be checked before it is queued
//! (Meta refuses a body over 1,024 characters, values with newlines, tabs or more than four spaces in a row).

/// Longest rendered body, in characters (whatsapp.md section 3: template body 1024).
pub const BODY_MAX_CHARS: usize = 1024;

/// Longest rendered header text, in characters.
pub const HEADER_MAX_CHARS: usize = 60;

/// Most buttons of a template.
pub const BUTTONS_MAX: usize = 10;

/// A value of a message: fixed for the campaign, or one of the row's variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// The same for every message.
    Fixed(String),
    /// Position in [`Campaign::variables`](crate::domain::campaign::Campaign::variables) and in the row's values.
    Variable(usize),
}

/// A piece of a text with slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Text that is the same for every message.
    Literal(String),
    /// A slot: position in [`Text::params`].
    Param(usize),
}

/// A text with slots `{{1}}` or `{{name}}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The text, cut at its slots.
    pub pieces: Vec<Piece>,
    /// One per slot in the order Meta expects: by number, or by first appearance when named.
    pub params: Vec<Param>,
}

/// One slot of a text and what fills it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    /// `parameter_name` when the template's parameters are named, None when they are positional.
    pub name: Option<String>,
    /// What fills the slot.
    pub value: Value,
}

/// The header of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Header {
    /// A text with at most one slot.
    Text(Text),
    /// A document by link.
    Document {
        /// Where Meta fetches it.
        link: Value,
        /// The name the debtor sees.
        filename: Option<Value>,
    },
    /// A document by file: the file's path, or of a row the id that Meta gave it.
    DocumentFile {
        /// Fixed: a path of the campaign file. Variable: of the row, a path while it is loaded, Meta's id afterwards.
        file: Value,
        /// The name the debtor sees.
        filename: Option<Value>,
    },
    /// An image by file, as with documents.
    ImageFile {
        /// The file.
        file: Value,
    },
    /// An image by link.
    Image {
        /// Where Meta fetches it.
        link: Value,
    },
}

/// What kind of file a header carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaKind {
    /// PDF.
    Document,
    /// JPEG or PNG.
    Image,
}

/// What a payment button carries (Brazil; whatsapp.md section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payment {
    /// `boleto.digitable_line`
    Boleto,
    /// `pix_dynamic_code.code`
    Pix,
    /// `payment_link.uri`
    Link,
}

/// A button of a template; its index is its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Button {
    /// Sends `payload` back when tapped.
    QuickReply {
        /// What the webhook will carry.
        payload: Value,
    },
    /// Opens the template's URL with this suffix.
    Url {
        /// The variable end of the URL. None for a URL without one: nothing is sent for the button.
        suffix: Option<Value>,
    },
    /// Copies a code.
    CopyCode {
        /// The code.
        code: Value,
    },
    /// Pix, boleto or payment link.
    PaymentRequest {
        /// Which of the three.
        kind: Payment,
        /// Its code, line or address.
        value: Value,
    },
}

/// A template as approved by Meta, with our values in its slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Name at Meta.
    pub name: String,
    /// Language code at Meta, such as `pt_BR`.
    pub language: String,
    /// Its category at Meta.
    pub category: Category,
    /// Header, if it has one.
    pub header: Option<Header>,
    /// Body.
    pub body: Text,
    /// Buttons in order.
    pub buttons: Vec<Button>,
}

/// What a template is for, at Meta.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Category {
    /// Of a transaction or an account: reminders, boletos, receipts.
    #[default]
    Utility,
    /// Offers and news; people can stop it by itself.
    Marketing,
}

/// Most payment buttons of a template.
pub const PAYMENT_BUTTONS_MAX: usize = 3;

impl Value {
    /// The text: its own, or the row's.
    pub fn resolve<'a, S: AsRef<str>>(&'a self, values: &'a [S]) -> &'a str {
        match self {
            Self::Fixed(text) => text,
            Self::Variable(at) => values[*at].as_ref(),
        }
    }
}

impl Text {
    /// The text with a row's values in its slots. `values` has one entry per variable of the campaign.
    pub fn render<S: AsRef<str>>(&self, values: &[S]) -> String {
        let mut out = String::new();
        for piece in &self.pieces {
            out.push_str(match piece {
                Piece::Literal(text) => text,
                Piece::Param(at) => self.params[*at].value.resolve(values),
            });
        }
        out
    }

    /// Characters that are the same for every message: literals, and slots with a fixed value.
    pub fn fixed_chars(&self) -> usize {
        let chars = |piece: &Piece| match piece {
            Piece::Literal(text) => text.chars().count(),
            Piece::Param(at) => match &self.params[*at].value {
                Value::Fixed(text) => text.chars().count(),
                Value::Variable(_) => 0,
            },
        };
        self.pieces.iter().map(chars).sum()
    }

    /// The variable of each slot that has one, once for every time the slot occurs in the text.
    pub fn variables(&self) -> impl Iterator<Item = usize> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Param(at) => match self.params[*at].value {
                Value::Variable(variable) => Some(variable),
                Value::Fixed(_) => None,
            },
            Piece::Literal(_) => None,
        })
    }
}

impl Template {
    /// The header's file and its kind, if it has one by file.
    pub fn media_file(&self) -> Option<(&Value, MediaKind)> {
        match &self.header {
            Some(Header::DocumentFile { file, .. }) => Some((file, MediaKind::Document)),
            Some(Header::ImageFile { file }) => Some((file, MediaKind::Image)),
            _ => None,
        }
    }

    /// The body as the debtor will read it.
    pub fn render_body<S: AsRef<str>>(&self, values: &[S]) -> String {
        self.body.render(values)
    }
}

impl Payment {
    /// All three, in the order of Meta's documentation.
    pub const ALL: [Self; 3] = [Self::Pix, Self::Boleto, Self::Link];

    /// Its key in the campaign file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Boleto => "boleto",
            Self::Pix => "pix",
            Self::Link => "link",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_renders_with_values_in_its_slots() {
        let param = |value| Param { name: None, value };
        let text = Text {
            pieces: vec![
                Piece::Literal("Olá ".into()),
                Piece::Param(0),
                Piece::Literal(", é da ".into()),
                Piece::Param(1),
                Piece::Literal("? ".into()),
                Piece::Param(0),
            ],
            params: vec![param(Value::Variable(1)), param(Value::Fixed("Loja Única".into()))],
        };
        assert_eq!(text.render(&["x", "Zoé"]), "Olá Zoé, é da Loja Única? Zoé");
        assert_eq!(text.fixed_chars(), 4 + 7 + 10 + 2);
        assert_eq!(text.variables().collect::<Vec<_>>(), [1, 1]);
    }
}
