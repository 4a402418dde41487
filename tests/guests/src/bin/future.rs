//! Is written for a version of the interfaces that does not exist yet.

mod world {
    wit_bindgen::generate!({
        inline: "
            package layerwright:plugin@0.2.0;

            interface mirror {
                describe: func() -> string;
            }

            world mirror-resolver {
                export mirror;
            }
        ",
    });

    struct Component;

    impl exports::layerwright::plugin::mirror::Guest for Component {
        fn describe() -> String {
            "from the future".to_owned()
        }
    }

    export!(Component);
}
