use gix_hash::ObjectId;
use gix_protocol::handshake::Ref;

/// What is to be asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Chosen {
    /// The whole name of the ref.
    pub(super) name: String,
    /// What it points to: a commit, or a tag that leads to one.
    pub(super) id: ObjectId,
}

/// The names that a revision may stand for, the first that is there counts: a branch before a tag, as in a checkout.
pub(super) fn names(revision: Option<&str>) -> Vec<String> {
    match revision {
        None | Some("HEAD") => vec!["HEAD".to_owned()],
        Some(name) if name.starts_with("refs/") => vec![name.to_owned()],
        Some(name) => ["refs/heads/", "refs/tags/", "refs/"].map(|prefix| format!("{prefix}{name}")).into(),
    }
}

/// The ref that a revision means; none where there is none.
pub(super) fn choose(refs: &[Ref], revision: Option<&str>) -> Option<Chosen> {
    let wanted = names(revision);
    wanted.iter().find_map(|name| {
        refs.iter().find_map(|found| {
            let (full, id, target) = match found {
                Ref::Direct { full_ref_name, object } => (full_ref_name, object, None),
                Ref::Peeled { full_ref_name, tag, .. } => (full_ref_name, tag, None),
                Ref::Symbolic { full_ref_name, target, tag, object } => (full_ref_name, tag.as_ref().unwrap_or(object), Some(target)),
                Ref::Unborn { .. } => return None,
            };
            let named = target.unwrap_or(full).to_string();
            (*full == name.as_str()).then_some(Chosen { name: named, id: *id })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: char) -> ObjectId {
        ObjectId::from_hex(digit.to_string().repeat(40).as_bytes()).unwrap()
    }

    #[test]
    fn a_branch_counts_before_a_tag_and_a_whole_name_before_all() {
        let refs = [
            Ref::Symbolic { full_ref_name: "HEAD".into(), target: "refs/heads/main".into(), tag: None, object: id('1') },
            Ref::Direct { full_ref_name: "refs/heads/main".into(), object: id('1') },
            Ref::Peeled { full_ref_name: "refs/tags/v1".into(), tag: id('2'), object: id('3') },
            Ref::Direct { full_ref_name: "refs/tags/both".into(), object: id('4') },
            Ref::Direct { full_ref_name: "refs/heads/both".into(), object: id('5') },
            Ref::Direct { full_ref_name: "refs/pull/7/head".into(), object: id('6') },
        ];
        let chosen = |revision: Option<&str>| choose(&refs, revision).map(|chosen| (chosen.name, chosen.id));
        let some = |name: &str, digit| Some((name.to_owned(), id(digit)));
        assert_eq!(chosen(None), some("refs/heads/main", '1'));
        assert_eq!(chosen(Some("main")), some("refs/heads/main", '1'));
        assert_eq!(chosen(Some("v1")), some("refs/tags/v1", '2'));
        assert_eq!(chosen(Some("both")), some("refs/heads/both", '5'));
        assert_eq!(chosen(Some("refs/tags/both")), some("refs/tags/both", '4'));
        assert_eq!(chosen(Some("pull/7/head")), some("refs/pull/7/head", '6'));
        assert_eq!(chosen(Some("none")), None);
    }
}
