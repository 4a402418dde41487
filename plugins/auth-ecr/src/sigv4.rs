//! AWS Signature Version 4 (AWS General Reference, "Signing AWS API requests").

use hmac::{Hmac, KeyInit as _, Mac as _};
use layerwright_plugin::Property;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use crate::credentials::Credentials;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What is signed, but for the body.
pub(crate) struct Signing<'a> {
    pub(crate) method: &'a str,
    /// Host, and port where it is not the scheme's own.
    pub(crate) host: &'a str,
    /// Already as it is sent.
    pub(crate) path: &'a str,
    /// Already as it is sent, sorted by name.
    pub(crate) query: &'a str,
    pub(crate) region: &'a str,
    pub(crate) service: &'a str,
    /// Seconds since 1970.
    pub(crate) now: u64,
}

/// Adds `X-Amz-Date`, the session's token and `Authorization` to `headers`, all of which are signed.
pub(crate) fn sign(signing: &Signing<'_>, headers: &mut Vec<Property>, body: &[u8], credentials: &Credentials) {
    let at = time(signing.now);
    let day = at.split('T').next().unwrap_or_default();
    headers.push(Property::new("x-amz-date", &at));
    headers.extend(credentials.session_token.iter().map(|token| Property::new("x-amz-security-token", token)));

    let mut signed: Vec<(String, &str)> = headers.iter().map(|header| (header.name.to_ascii_lowercase(), header.value.trim())).collect();
    signed.push(("host".to_owned(), signing.host));
    signed.sort();
    let names = signed.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";");
    let lines: String = signed.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let request = format!("{}\n{}\n{}\n{lines}\n{names}\n{}", signing.method, signing.path, signing.query, hash(body));
    let scope = format!("{day}/{}/{}/aws4_request", signing.region, signing.service);
    let text = format!("{ALGORITHM}\n{at}\n{scope}\n{}", hash(request.as_bytes()));

    let key = [day, signing.region, signing.service, "aws4_request"]
        .iter()
        .fold(format!("AWS4{}", credentials.secret_key).into_bytes(), |key, part| hmac(&key, part.as_bytes()));
    let signature = hex(&hmac(&key, text.as_bytes()));
    let value = format!("{ALGORITHM} Credential={}/{scope}, SignedHeaders={names}, Signature={signature}", credentials.access_key);
    headers.push(Property::new("authorization", value));
}

/// `YYYYMMDDTHHMMSSZ`
fn time(seconds: u64) -> String {
    let at = i64::try_from(seconds).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    let at = at.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (date, clock) = (at.date(), at.time());
    let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", clock.hour(), clock.minute(), clock.second())
}

fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    // HMAC takes keys of any length.
    Hmac::<Sha256>::new_from_slice(key).map(|mac| mac.chain_update(text).finalize().into_bytes().to_vec()).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The credentials and the time of AWS's published examples.
    fn signed(method: &str, host: &str, query: &str, service: &str, headers: &[(&str, &str)], body: &str, token: Option<&str>) -> String {
        let credentials = Credentials {
            access_key: "AKIDEXAMPLE".to_owned(),
            secret_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
            session_token: token.map(str::to_owned),
        };
        let signing = Signing { method, host, path: "/", query, region: "us-east-1", service, now: 1_440_938_160 };
        let mut headers: Vec<Property> = headers.iter().map(|(name, value)| Property::new(*name, *value)).collect();
        sign(&signing, &mut headers, body.as_bytes(), &credentials);
        headers.last().unwrap().value.clone()
    }

    #[test]
    fn published_vectors() {
        const HOST: &str = "example.amazonaws.com";
        const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");
        let scope = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=";
        for (name, found, wanted) in [
            (
                "get-vanilla",
                signed("GET", HOST, "", "service", &[], "", None),
                "host;x-amz-date, Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                "post-vanilla",
                signed("POST", HOST, "", "service", &[], "", None),
                "host;x-amz-date, Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                "post-x-www-form-urlencoded",
                signed("POST", HOST, "", "service", &[FORM], "Param1=value1", None),
                "content-type;host;x-amz-date, Signature=ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
            (
                "post-header-key-sort",
                signed("POST", HOST, "", "service", &[("My-Header1", "value1")], "", None),
                "host;my-header1;x-amz-date, Signature=c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
            ),
        ] {
            assert_eq!(found, format!("{scope}{wanted}"), "{name}");
        }
    }

    #[test]
    fn the_example_of_the_general_reference() {
        let form = [("content-type", "application/x-www-form-urlencoded; charset=utf-8")];
        assert_eq!(
            signed("GET", "iam.amazonaws.com", "Action=ListUsers&Version=2010-05-08", "iam", &form, "", None),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, SignedHeaders=content-type;host;x-amz-date, \
             Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
        );
    }

    #[test]
    fn a_sessions_token_is_signed() {
        // Computed with botocore's SigV4Auth for the same request.
        let found = signed(
            "POST",
            "example.amazonaws.com",
            "",
            "service",
            &[],
            "",
            Some(
                "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==",
            ),
        );
        assert_eq!(
            found,
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date;x-amz-security-token, \
             Signature=85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"
        );
    }

    #[test]
    fn times() {
        assert_eq!(time(1_440_938_160), "20150830T123600Z");
        assert_eq!(time(0), "19700101T000000Z");
        assert_eq!(time(951_782_399), "20000228T235959Z");
        assert_eq!(time(1_709_164_800), "20240229T000000Z");
    }
}
