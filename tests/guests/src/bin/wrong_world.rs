//! Is a component, but no plugin.

mod world {
    wit_bindgen::generate!({
        inline: "
            package acme:other;

            world other {
                export run: func() -> string;
            }
        ",
    });

    struct Component;

    impl Guest for Component {
        fn run() -> String {
            "ran".to_owned()
        }
    }

    export!(Component);
}
