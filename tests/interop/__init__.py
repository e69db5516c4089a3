"""The client zoo: real client libraries against the real server, over a line that breaks.

``clients`` drives each library in a process of its own, ``cases`` says what is done to it and what
has to come of it, ``zoo`` says which client goes through which case and by which of its options,
``seen`` says it to people. ``make test`` runs a choice of it; ``make interop`` all, with clients in
Java and Rust and tus-js-client's own suite, and prints what it saw.
"""
