//! Needs a host that this one is not.

mod world {
    wit_bindgen::generate!({
        inline: "
            package acme:other;

            interface machine {
                launch: func(program: string) -> u32;
            }

            world other {
                import machine;
                export run: func() -> u32;
            }
        ",
    });

    struct Component;

    impl Guest for Component {
        fn run() -> u32 {
            acme::other::machine::launch("/bin/sh")
        }
    }

    export!(Component);
}
