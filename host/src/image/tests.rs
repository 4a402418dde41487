use super::*;
use crate::oci::{History, Platform};

fn layer(text: &str, kind: &str) -> Layer {
    Layer {
        descriptor: Descriptor::new(MediaType::parse(kind), Digest::of(text.as_bytes()), text.len() as u64),
        diff_id: DiffId(Digest::of(format!("tar of {text}").as_bytes())),
        content: LayerContent::File(PathBuf::from(text)),
    }
}

const OCI: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const DOCKER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

fn two_layers() -> Image {
    let config = ImageConfig { os: "linux".into(), architecture: "amd64".into(), ..ImageConfig::default() };
    let history = |text: &str| History { created_by: Some(text.to_owned()), ..History::default() };
    Image::scratch(config)
        .append(layer("one", OCI), history("COPY one"))
        .remember(history("ENV x"))
        .append(layer("two", DOCKER), history("COPY two"))
}

#[test]
fn appending_keeps_layers_and_configuration_together() {
    let image = two_layers().configure(|config| {
        config.config.set_env("A", "b");
        config.rootfs.diff_ids.clear();
    });
    assert_eq!(image.config.rootfs.diff_ids, [image.layers[0].diff_id, image.layers[1].diff_id]);
    assert_eq!(image.config.history.iter().map(|entry| entry.empty_layer).collect::<Vec<_>>(), [false, true, false]);
    assert!(image.documents().is_ok());

    let mut wrong = image.clone();
    wrong.layers.swap(0, 1);
    assert_eq!(wrong.documents(), Err(ImageError::Order(0)));
    wrong.layers.pop();
    assert_eq!(wrong.documents(), Err(ImageError::Counts { layers: 1, diff_ids: 2 }));
}

#[test]
fn families_are_never_mixed_and_bytes_are_stable() {
    for docker in [false, true] {
        let image = two_layers().with_format(docker).annotate([("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())]);
        let documents = image.documents().unwrap();
        assert_eq!(documents, image.clone().documents().unwrap());
        let text = String::from_utf8(documents.manifest.clone()).unwrap();
        assert_eq!((text.contains("vnd.oci"), text.contains("vnd.docker")), (!docker, docker), "{text}");
        let manifest: Manifest = serde_json::from_slice(&documents.manifest).unwrap();
        assert_eq!(manifest.media_type.as_ref(), Some(&documents.descriptor.media_type));
        assert_eq!(documents.descriptor.digest, Digest::of(&documents.manifest));
        let config: ImageConfig = serde_json::from_slice(&documents.config).unwrap();
        let back = Image::from_parts(&manifest, config, |_| LayerContent::File(PathBuf::new())).unwrap();
        assert_eq!(back.docker, docker);
        assert_eq!(back.documents().unwrap().config, documents.config);
    }
}

#[test]
fn configurations_keep_within_bounds() {
    let check = |text: &str| check_config(&serde_json::from_str(text).unwrap());
    assert!(check(r#"{"config":{"Env":["A=b\nc"],"User":"0:0","Volumes":{"/data":{}}}}"#).is_ok());
    for bad in [
        r#"{"config":{"User":"0\nroot"}}"#,
        r#"{"config":{"WorkingDir":"/a\u0000b"}}"#,
        r#"{"config":{"Volumes":{"/a\nb":{}}}}"#,
        r#"{"config":{"Env":["A=\u0000"]}}"#,
    ] {
        assert!(matches!(check(bad), Err(ImageError::Value { .. })), "{bad}");
    }
    let many = format!(r#"{{"config":{{"Env":[{}"A=b"]}}}}"#, "\"A=b\",".repeat(100_000));
    assert!(matches!(check(&many), Err(ImageError::TooMany { what: "environment variables", .. })));
}

#[test]
fn a_layout_is_read_as_it_was_written() {
    let directory = std::env::temp_dir().join(format!("layerwright-layout-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    let image = two_layers();
    let documents = image.documents().unwrap();
    let layout = Layout::create(&directory).unwrap();
    for (layer, text) in image.layers.iter().zip(["one", "two"]) {
        layout.put_bytes(layer.descriptor.digest, text.as_bytes()).unwrap();
    }
    layout.put_bytes(documents.config_descriptor.digest, &documents.config).unwrap();
    layout.put_bytes(documents.descriptor.digest, &documents.manifest).unwrap();
    assert!(Layout::open(&directory).is_err(), "not an image before it is whole");
    layout.finish(&documents.descriptor).unwrap();

    let platform = Platform::new("linux", "amd64");
    let (back, _, digest) = Layout::open(&directory).unwrap().image(None, &platform).unwrap();
    assert_eq!((digest, &back.config), (documents.descriptor.digest, &image.config));
    let one = &back.layers[0].descriptor;
    assert_eq!(back.layers[0].content, LayerContent::File(layout.blob(one.digest)));
    assert!(layout.verify(one).is_ok());
    std::fs::write(layout.blob(one.digest), "onx").unwrap();
    assert!(layout.verify(one).is_err());
    std::fs::write(layout.blob(documents.config_descriptor.digest), "{}").unwrap();
    assert!(layout.image(None, &platform).is_err());
    std::fs::remove_dir_all(&directory).unwrap();
}
