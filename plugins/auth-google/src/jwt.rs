//! Signed assertions: JSON Web Tokens with RS256 (RFC 7515; RFC 7523).

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rsa::PrivateKey;
use rsa::pkcs1::DecodeRsaPrivateKey as _;
use rsa::pkcs1v15::SigningKey;
use rsa::pkcs8::DecodePrivateKey as _;
use rsa::signature::{SignatureEncoding as _, Signer as _};
use sha2::Sha256;

/// A text is not an RSA key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoKey;

/// Signs a header and claims, both JSON, with a key in PEM.
pub(crate) fn sign(header: &str, claims: &str, pem: &str) -> Result<String, NoKey> {
    let key = SigningKey::<Sha256>::new(key(pem)?);
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = key.try_sign(signed.as_bytes()).map_err(|_| NoKey)?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes())))
}

/// Reads a key of PKCS #8 or PKCS #1 (RFC 7468).
fn key(pem: &str) -> Result<PrivateKey, NoKey> {
    let der = |label: &str| {
        let (_, rest) = pem.split_once(&format!("-----BEGIN {label}-----"))?;
        let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
        STANDARD.decode(body.split_whitespace().collect::<String>()).ok()
    };
    let pkcs8 = der("PRIVATE KEY").and_then(|der| PrivateKey::from_pkcs8_der(&der).ok());
    let key = pkcs8.or_else(|| der("RSA PRIVATE KEY").and_then(|der| PrivateKey::from_pkcs1_der(&der).ok()));
    key.ok_or(NoKey)
}

#[cfg(test)]
pub(crate) mod tests {
    use rsa::BoxedUint;
    use rsa::pkcs8::{EncodePrivateKey as _, LineEnding};

    use super::*;

    /// RFC 7515, A.2.1: the key, each number as base64url.
    const KEY: [&str; 5] = [
        "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
        "AQAB",
        "Eq5xpGnNCivDflJsRQBXHx1hdR1k6Ulwe2JZD50LpXyWPEAeP88vLNO97IjlA7_GQ5sLKMgvfTeXZx9SE-7YwVol2NXOoAJe46sui395IW_GO-pWJ1O0BkTGoVEn2bKVRUCgu-GjBVaYLU6f3l9kJfFNS3E0QbVdxzubSu3Mkqzjkn439X0M_V51gfpRLI9JYanrC4D4qAdGcopV_0ZHHzQlBjudU2QvXt4ehNYTCBr6XCLQUShb1juUO1ZdiYoFaFQT5Tw8bGUl_x_jTj3ccPDVZFD9pIuhLhBOneufuBiB4cS98l2SR_RQyGWSeWjnczT0QU91p1DhOVRuOopznQ",
        "4BzEEOtIpmVdVEZNCqS7baC4crd0pqnRH_5IB3jw3bcxGn6QLvnEtfdUdiYrqBdss1l58BQ3KhooKeQTa9AB0Hw_Py5PJdTJNPY8cQn7ouZ2KKDcmnPGBY5t7yLc1QlQ5xHdwW1VhvKn-nXqhJTBgIPgtldC-KDV5z-y2XDwGUc",
        "uQPEfgmVtjL0Uyyx88GZFF1fOunH3-7cepKmtH4pxhtCoHqpWmT8YAmZxaewHgHAjLYsp1ZSe7zFYHj7C6ul7TjeLQeZD_YwD66t62wDmpe_HlB-TnBA-njbglfIsRLtXlnDzQkv5dTltRJ11BKBBypeeF6689rjcJIDEz9RWdc",
    ];

    /// The RFC's key in PEM.
    pub(crate) fn rfc_pem() -> String {
        rfc_key().to_pkcs8_pem(LineEnding::LF).unwrap().to_string()
    }

    fn rfc_key() -> PrivateKey {
        let [n, e, d, p, q] = KEY.map(|text| {
            let bytes = URL_SAFE_NO_PAD.decode(text).unwrap();
            BoxedUint::from_be_slice_vartime(&bytes)
        });
        PrivateKey::from_components(n, e, d, vec![p, q]).unwrap()
    }

    /// RFC 7515, A.2.1: what is signed and what comes of it. The claims have line ends of their own.
    #[test]
    fn the_rfcs_vector() {
        let pem = rfc_pem();
        let claims = "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}";
        assert_eq!(
            sign(r#"{"alg":"RS256"}"#, claims, &pem).unwrap(),
            "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
             cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4\
             BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqv\
             hJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
        );
    }

    #[test]
    fn keys_of_both_forms_and_none() {
        use rsa::pkcs1::EncodeRsaPrivateKey as _;
        let old = rfc_key().to_pkcs1_pem(LineEnding::CRLF).unwrap();
        assert!(sign("{}", "{}", &old).is_ok());
        for text in ["", "secret", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "-----BEGIN PRIVATE KEY-----"] {
            assert_eq!(sign("{}", "{}", text), Err(NoKey), "{text}");
        }
    }
}
