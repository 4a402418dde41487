use std::io::Write;
use std::sync::Arc;

use super::*;
use crate::oci::{Digest, ImageConfig};
use crate::progress::Silent;
use crate::registry::RegistrySettings;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("layerwright-export-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn client() -> Client {
    Client::new(RegistrySettings::default(), Vec::new(), Vec::new(), Arc::new(Silent)).unwrap()
}

fn outputs(directory: &Path) -> Outputs {
    Outputs {
        destinations: vec!["me/app:1".parse().unwrap(), "127.0.0.1:1/x".parse().unwrap()],
        no_push: true,
        digest_file: Some(directory.join("new/digest")),
        image_name_with_digest_file: Some(directory.join("names")),
        image_name_tag_with_digest_file: Some(directory.join("tags")),
        ..Outputs::default()
    }
}

#[tokio::test]
async fn digest_files_are_as_kaniko_writes_them() {
    let scratch = Scratch::new("digests");
    let outputs = outputs(&scratch.0);
    let image = Image::scratch(ImageConfig::default());
    let digest = write(&image, &outputs, &client(), &scratch.0).await.unwrap().digest;
    let read = |path: &Option<PathBuf>| std::fs::read_to_string(path.as_ref().unwrap()).unwrap();
    assert_eq!(read(&outputs.digest_file), digest.to_string());
    assert_eq!(read(&outputs.image_name_with_digest_file), format!("index.docker.io/me/app@{digest}\n127.0.0.1:1/x@{digest}\n"));
    assert_eq!(
        read(&outputs.image_name_tag_with_digest_file),
        format!("index.docker.io/me/app:1@{digest}\n127.0.0.1:1/x:latest@{digest}\n")
    );
}

#[tokio::test]
async fn nothing_is_said_of_an_image_that_failed() {
    let scratch = Scratch::new("failed");
    let mut outputs = outputs(&scratch.0);
    outputs.tar_path = Some(scratch.0.join("image.tar"));
    let missing = Layer {
        descriptor: Descriptor::new(crate::oci::MediaType::parse("application/vnd.oci.image.layer.v1.tar+gzip"), Digest::of(b"x"), 1),
        diff_id: crate::oci::DiffId(Digest::of(b"x")),
        content: LayerContent::File(scratch.0.join("missing")),
    };
    let image = Image::scratch(ImageConfig::default()).append(missing, Default::default());
    assert!(write(&image, &outputs, &client(), &scratch.0).await.is_err());
    assert_eq!(std::fs::read_dir(&scratch.0).unwrap().count(), 0);
}

#[test]
fn what_cannot_be_replaced_is_written_in_place() {
    let scratch = Scratch::new("in-place");
    let (file, link) = (scratch.0.join("file"), scratch.0.join("link"));
    std::fs::write(&file, "something longer").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    files::replace(&link, |mut to| to.write_all(b"text")).unwrap();
    assert!(std::fs::symlink_metadata(&link).unwrap().file_type().is_symlink());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "text");
    files::replace(Path::new("/dev/null"), |mut to| to.write_all(b"text")).unwrap();
}
