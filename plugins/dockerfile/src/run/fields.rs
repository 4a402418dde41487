//! One CSV record: how `--mount` and `--device` separate their options.

use layerwright_plugin::Error;

/// The fields of a record. A quoted field may hold commas, and a quote as two.
/// `what` names them in the error.
pub(super) fn split(record: &str, what: &str) -> Result<Vec<String>, Error> {
    let mut fields = Vec::new();
    let mut rest = record;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted),
            None => plain_field(rest),
        }
        .map_err(|problem| Error::invalid(format!("failed to parse csv {what}: {problem}")))?;
        fields.push(field);
        match after {
            Some(after) => rest = after,
            None => return Ok(fields),
        }
    }
}

/// A field, and what stands after the comma that ends it.
type Field<'a> = (String, Option<&'a str>);

fn plain_field(rest: &str) -> Result<Field<'_>, &'static str> {
    let (field, after) = rest.split_once(',').map_or((rest, None), |(field, after)| (field, Some(after)));
    if field.contains('"') {
        return Err("bare \" in non-quoted field");
    }
    Ok((field.to_owned(), after))
}

fn quoted_field(quoted: &str) -> Result<Field<'_>, &'static str> {
    let mut field = String::new();
    let mut rest = quoted;
    loop {
        let (part, after) = rest.split_once('"').ok_or("extraneous or missing \" in quoted-field")?;
        field.push_str(part);
        match after.chars().next() {
            None => return Ok((field, None)),
            Some(',') => return Ok((field, after.get(1..))),
            Some('"') => {
                field.push('"');
                rest = after.get(1..).unwrap_or_default();
            }
            Some(_) => return Err("extraneous or missing \" in quoted-field"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        for (record, expected) in [
            ("a=b,c", &["a=b", "c"][..]),
            ("", &[""]),
            ("a,", &["a", ""]),
            ("\"a,b\",c", &["a,b", "c"]),
            ("\"a\"\"b\"", &["a\"b"]),
            ("a,\"\"", &["a", ""]),
        ] {
            assert_eq!(split(record, "mounts").unwrap(), expected, "{record}");
        }
        for record in ["a\"b", "\"a", "\"a\"b", "a,\"b"] {
            assert!(split(record, "mounts").is_err(), "{record}");
        }
    }
}
