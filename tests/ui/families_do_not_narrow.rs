//! A family is widened by `into()`; to narrow it, the kernel has to be asked.

use sockeye::addr::{EraseTo, Family, Ip, Ipv4, Unix};

fn widens<F: EraseTo<G>, G: Family>() {}

fn main() {
    widens::<Unix, Ip>();
    widens::<Ip, Ipv4>();
}
