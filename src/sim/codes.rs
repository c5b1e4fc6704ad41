//! The Graph error codes as the simulator answers them: usual HTTP status and title (whatsapp.md section 2).
//!
//! A table of its own: the judge must not share the engine's.

/// The access token is missing.
pub(crate) const NO_TOKEN: i64 = 0;
/// The access token is not valid.
pub(crate) const BAD_TOKEN: i64 = 190;
/// The service is unavailable for the moment.
pub(crate) const UNAVAILABLE: i64 = 2;
/// The phone number does not exist.
pub(crate) const NO_NUMBER: i64 = 33;
/// A parameter is wrong.
pub(crate) const BAD_PARAMETER: i64 = 100;
/// A parameter is missing.
pub(crate) const MISSING: i64 = 131_008;
/// A value is not valid.
pub(crate) const BAD_VALUE: i64 = 131_009;
/// Free-form messages need an open service window.
pub(crate) const NO_WINDOW: i64 = 131_047;
/// The number's throughput is exceeded.
pub(crate) const THROUGHPUT: i64 = 130_429;
/// More management requests than may be.
pub(crate) const REQUESTS: i64 = 80_007;
/// The pair limit is exceeded.
pub(crate) const PAIR: i64 = 131_056;
/// A medium cannot be taken or fetched.
pub(crate) const MEDIA_UPLOAD: i64 = 131_053;
/// The template is paused.
pub(crate) const PAUSED: i64 = 132_015;
/// The template is disabled.
pub(crate) const DISABLED: i64 = 132_016;
/// The count of parameters is wrong.
pub(crate) const PARAMETER_COUNT: i64 = 132_000;
/// The template does not exist in that language.
pub(crate) const NO_TEMPLATE: i64 = 132_001;
/// The text is too long.
pub(crate) const TOO_LONG: i64 = 132_005;
/// A parameter has the wrong form.
pub(crate) const BAD_FORMAT: i64 = 132_012;

/// HTTP status of a code unless a plan says otherwise.
pub(crate) fn http_status(code: i64) -> u16 {
    match code {
        0 | 104 | 190 => 401,
        1 => 400,
        2 | 133_004 => 503,
        3 | 131_000 | 131_016 | 131_045 | 131_057 | 133_000 | 134_102 => 500,
        10 | 200..=299 | 368 | 130_497 | 131_005 | 131_031 => 403,
        4 | 613 => 429,
        132_001 => 404,
        _ => 400,
    }
}

/// Title of a code.
pub(crate) fn title(code: i64) -> &'static str {
    match code {
        0 => "AuthException",
        1 => "API Unknown",
        2 => "API Service",
        3 => "API Method",
        4 => "API Too Many Calls",
        10 => "Permission Denied",
        33 => "Parameter value is not valid",
        100 => "Invalid parameter",
        190 => "Access token has expired",
        200..=299 => "API Permission",
        368 => "Temporarily blocked for policies violations",
        80_007 | 80_008 => "Rate limit issues",
        130_429 => "Rate limit hit",
        130_472 => "User's number is part of an experiment",
        131_000 => "Something went wrong",
        131_005 => "Access denied",
        131_008 => "Required parameter is missing",
        131_009 => "Parameter value is not valid",
        131_016 => "Service unavailable",
        131_021 => "Recipient cannot be sender",
        131_026 => "Message undeliverable",
        131_031 => "Account has been locked",
        131_042 => "Business eligibility payment issue",
        131_045 => "Incorrect certificate",
        131_047 => "Re-engagement message",
        131_048 => "Spam rate limit hit",
        131_049 => "This message was not delivered to maintain healthy ecosystem engagement",
        131_050 => "User stopped marketing messages from this business",
        131_051 => "Unsupported message type",
        131_053 => "Media upload error",
        131_056 => "(Business Account, Consumer Account) pair rate limit hit",
        131_057 => "Account in maintenance mode",
        132_000 => "Template Param Count Mismatch",
        132_001 => "Template does not exist",
        132_005 => "Template hydrated text too long",
        132_007 => "Template format character policy violated",
        132_012 => "Template parameter format mismatch",
        132_015 => "Template is paused",
        132_016 => "Template is disabled",
        133_004 => "Server temporarily unavailable",
        133_010 => "Phone number not registered",
        _ => "Error",
    }
}
