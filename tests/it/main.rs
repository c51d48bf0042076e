//! Behaviour tests: they boot the real binary on a free port, with media made by ffmpeg's generators, and look at what comes out.

mod house;

mod support;
