//! Here-documents in RUN, COPY and ONBUILD.

use crate::support::TestEnv;

const BUSYBOX: &str = "FROM {registry}/base/busybox:latest\n";

fn file(env: &TestEnv, name: &str, commands: &str) -> String {
    env.build(&format!("{BUSYBOX}{commands}")).succeed().tree_above(1)[name].text().to_owned()
}

// scenario 104
#[test]
fn a_body_alone_is_a_script() {
    let env = TestEnv::new();
    assert_eq!(file(&env, "out", "RUN <<EOF\necho a > /out\n# a comment\n\necho \"b \\\n c\" >> /out\nEOF\n"), "a\nb  c\n");
}

// scenario 105
#[test]
fn any_shell_takes_a_body() {
    let env = TestEnv::new();
    assert_eq!(file(&env, "out", "SHELL [\"/bin/awk\"]\nRUN <<EOF\nBEGIN {\n  print \"by awk\" > \"/out\"\n}\nEOF\n"), "by awk\n");
}

// scenario 106
#[test]
fn a_body_names_its_interpreter() {
    let env = TestEnv::new();
    let commands = "RUN <<-'script'\n\t#!/bin/awk -f\n\tBEGIN { print ARGV[0], \"$x\" > \"/out\" }\n\tscript\nRUN <<EOF\n#!/bin/sh\necho \"$0\" >> /out\nEOF\n";
    assert_eq!(file(&env, "out", commands), "awk $x\n/dev/pipes/EOF\n");
    let image = env.build(&format!("{BUSYBOX}RUN <<EOF\n#!/bin/sh\ntrue\nEOF\n")).succeed();
    assert!(image.tree_above(1).is_empty(), "{:?}", image.tree_above(1).keys());
}

// scenario 107
#[test]
fn several_bodies_and_descriptors_go_to_the_shell() {
    let env = TestEnv::new();
    let commands = "RUN cat <<ONE | tr a-z A-Z > /out; cat <<TWO >> /out\none $HOME\nONE\ntwo\nTWO\nRUN cat 0<<A /proc/self/fd/3 /proc/self/fd/4 3<<B 4<<C >> /out\na\nA\nb\nB\nc\nC\n";
    assert_eq!(file(&env, "out", commands), "ONE /ROOT\ntwo\nb\nc\n");
}

// scenario 108
#[test]
fn tabs_are_taken_away_where_it_is_asked() {
    let env = TestEnv::new();
    let commands = "RUN cat <<A > /out\n\tkept\nA\nRUN cat <<-A >> /out\n\t\ttaken\n\t  kept\n\tA\nRUN <<-A\n\techo script >> /out\nA\nCOPY <<-A /copied\n\tx\n\ty\nA\n";
    let image = env.build(&format!("{BUSYBOX}{commands}")).succeed();
    let tree = image.tree_above(1);
    assert_eq!(tree["out"].text(), "\tkept\ntaken\n  kept\nscript\n");
    assert_eq!(tree["copied"].text(), "x\ny\n");
}

// scenario 109
#[test]
fn the_builder_expands_bodies_of_copy_and_never_those_of_run() {
    let env = TestEnv::new();
    let commands = "ENV X=build\nRUN <<EOF\nX=shell\necho \"$X\" > /out\nEOF\nRUN <<'EOF'\necho \"$X\" >> /out\nEOF\nCOPY <<A <<'B' <<\"C\" /\n$X \"${X}\" '$X' \\$X\nA\n$X\nB\n${X}\nC\n";
    let image = env.build(&format!("{BUSYBOX}{commands}")).succeed();
    let tree = image.tree_above(1);
    assert_eq!(tree["out"].text(), "shell\nbuild\n");
    assert_eq!(tree["A"].text(), "build \"build\" 'build' $X\n");
    assert_eq!((tree["B"].text(), tree["C"].text()), ("$X\n", "${X}\n"));
}

// scenario 102
#[test]
fn files_of_bodies_have_the_mode_and_owner_that_are_asked() {
    let env = TestEnv::new();
    let image = env
        .build(&format!("{BUSYBOX}COPY --chmod=0750 --chown=1:2 <<one <<two /d/\n1\none\n2\ntwo\nADD <<three /d/\n3\nthree\n"))
        .succeed();
    let tree = image.tree_above(1);
    assert_eq!((tree["d/one"].rights(), tree["d/two"].text()), ("0750 1:2".to_owned(), "2\n"));
    assert_eq!(tree["d/three"].rights(), "0644 0:0");
}

// scenario 103
#[test]
fn escapes_in_bodies_of_copy() {
    let env = TestEnv::new();
    let image = env.build(&format!("{BUSYBOX}COPY <<A <<\"B\" /\n\\\\ \\$x \\y\nA\n\\\\ \\$x \\y\nB\n")).succeed();
    let tree = image.tree_above(1);
    assert_eq!(tree["A"].text(), "\\ $x y\n");
    assert_eq!(tree["B"].text(), "\\\\ \\$x \\y\n");
}

// scenario 110
#[test]
fn bodies_wait_with_their_trigger() {
    let env = TestEnv::new();
    let run = "ONBUILD RUN <<EOF\necho \"run $X\" > /run\nEOF\nONBUILD RUN <<EOF\n#!/bin/sh\necho \"script $X\" >> /run\nEOF\n";
    let copy = "ONBUILD COPY <<A <<'B' /\n$X\nA\n$X\nB\n";
    let dockerfile = format!("FROM {{registry}}/base/busybox:latest AS parent\nENV X=x\n{run}{copy}FROM parent\n");
    let image = env.build(&dockerfile).succeed();
    let tree = image.tree_above(1);
    assert_eq!((tree["run"].text(), tree["A"].text(), tree["B"].text()), ("run x\nscript x\n", "x\n", "$X\n"));
}

#[test]
fn line_ends_of_windows_and_exec_forms() {
    let env = TestEnv::new();
    assert_eq!(file(&env, "out", "RUN cat <<EOF | od -c | head -n 1 > /out\r\na\r\nEOF\r\n"), "0000000   a  \\r  \\n\n");
    assert_eq!(file(&env, "out", "RUN [\"/bin/sh\", \"-c\", \"echo '<<EOF' > /out\"]\n"), "<<EOF\n");
}
