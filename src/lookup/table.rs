//! The services that are known without `/etc/services`: names, ports, transports and where they stand.
//!
//! What a container without that file still wants to reach. Ports are IANA's, and so are the names but
//! for aliases in wide use; where one document defines the protocol it is named, else `IANA` stands for
//! the Service Name and Transport Protocol Port Number Registry. A transport is listed if the protocol
//! runs on it, not because the registry once gave both to everybody.
//!
//! Sorted by port. The system's own table has the first word: see [`service`](super::service).

/// Name, port, transports, aliases between blanks.
pub(super) type Row = (&'static str, u16, On, &'static str);

/// What a service runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum On {
    Tcp,
    Udp,
    Both,
}
use On::{Both, Tcp, Udp};

#[rustfmt::skip] // one row a line, in columns
pub(super) const TABLE: &[Row] = &[
    ("tcpmux",           1, Tcp,  ""),                           // RFC 1078
    ("echo",             7, Both, ""),                           // RFC 862
    ("discard",          9, Both, "sink null"),                  // RFC 863
    ("systat",          11, Tcp,  "users"),                      // RFC 866
    ("daytime",         13, Both, ""),                           // RFC 867
    ("qotd",            17, Both, "quote"),                      // RFC 865
    ("chargen",         19, Both, "ttytst source"),              // RFC 864
    ("ftp-data",        20, Tcp,  ""),                           // RFC 959
    ("ftp",             21, Tcp,  ""),                           // RFC 959
    ("ssh",             22, Tcp,  ""),                           // RFC 4253
    ("telnet",          23, Tcp,  ""),                           // RFC 854
    ("smtp",            25, Tcp,  "mail"),                       // RFC 5321
    ("time",            37, Both, "timserver"),                  // RFC 868
    ("whois",           43, Tcp,  "nicname"),                    // RFC 3912
    ("tacacs",          49, Both, ""),                           // RFC 8907
    ("domain",          53, Both, "dns"),                        // RFC 1035
    ("bootps",          67, Udp,  ""),                           // RFC 2131
    ("bootpc",          68, Udp,  ""),                           // RFC 2131
    ("tftp",            69, Udp,  ""),                           // RFC 1350
    ("gopher",          70, Tcp,  ""),                           // RFC 1436
    ("finger",          79, Tcp,  ""),                           // RFC 1288
    ("http",            80, Tcp,  "www"),                        // RFC 9110
    ("kerberos",        88, Both, "kerberos5 krb5 kerberos-sec"), // RFC 4120
    ("iso-tsap",       102, Tcp,  "tsap"),                       // RFC 1006
    ("acr-nema",       104, Tcp,  "dicom"),                      // IANA
    ("pop3",           110, Tcp,  "pop-3"),                      // RFC 1939
    ("sunrpc",         111, Both, "portmapper"),                 // RFC 1833
    ("auth",           113, Tcp,  "ident authentication tap"),   // RFC 1413
    ("nntp",           119, Tcp,  "readnews untp"),              // RFC 3977
    ("ntp",            123, Udp,  ""),                           // RFC 5905
    ("epmap",          135, Tcp,  "loc-srv"),                    // IANA
    ("netbios-ns",     137, Udp,  ""),                           // RFC 1002
    ("netbios-dgm",    138, Udp,  ""),                           // RFC 1002
    ("netbios-ssn",    139, Tcp,  ""),                           // RFC 1002
    ("imap",           143, Tcp,  "imap2"),                      // RFC 9051
    ("snmp",           161, Both, ""),                           // RFC 3417
    ("snmptrap",       162, Both, "snmp-trap"),                  // RFC 3417
    ("xdmcp",          177, Udp,  ""),                           // IANA
    ("bgp",            179, Tcp,  ""),                           // RFC 4271
    ("irc",            194, Tcp,  ""),                           // RFC 1459; most servers are on 6667
    ("z39-50",         210, Tcp,  "z3950 wais"),                 // RFC 4156
    ("ptp-event",      319, Udp,  ""),                           // IANA, IEEE 1588
    ("ptp-general",    320, Udp,  ""),                           // IANA, IEEE 1588
    ("ldap",           389, Both, ""),                           // RFC 4511
    ("svrloc",         427, Both, ""),                           // RFC 2608
    ("https",          443, Both, ""),                           // RFC 9110, RFC 9114
    ("snpp",           444, Tcp,  ""),                           // RFC 1861
    ("microsoft-ds",   445, Tcp,  "smb"),                        // IANA
    ("kpasswd",        464, Both, ""),                           // RFC 3244
    ("submissions",    465, Tcp,  "smtps ssmtp urd"),            // RFC 8314
    ("isakmp",         500, Udp,  ""),                           // RFC 7296
    ("exec",           512, Tcp,  ""),                           // IANA
    ("login",          513, Tcp,  "rlogin"),                     // RFC 1282
    ("shell",          514, Tcp,  "cmd"),                        // IANA
    ("syslog",         514, Udp,  ""),                           // RFC 5426
    ("printer",        515, Tcp,  "spooler lpd"),                // RFC 1179
    ("talk",           517, Udp,  ""),                           // IANA
    ("ntalk",          518, Udp,  ""),                           // IANA
    ("route",          520, Udp,  "router routed rip"),          // RFC 2453
    ("ripng",          521, Udp,  ""),                           // RFC 2080
    ("uucp",           540, Tcp,  "uucpd"),                      // IANA
    ("dhcpv6-client",  546, Udp,  ""),                           // RFC 8415
    ("dhcpv6-server",  547, Udp,  ""),                           // RFC 8415
    ("afpovertcp",     548, Tcp,  "afp"),                        // IANA
    ("rtsp",           554, Both, ""),                           // RFC 7826
    ("nntps",          563, Tcp,  "snntp"),                      // RFC 4642
    ("9pfs",           564, Tcp,  ""),                           // IANA
    ("submission",     587, Tcp,  ""),                           // RFC 6409
    ("asf-rmcp",       623, Udp,  ""),                           // IANA, DMTF ASF 2.0
    ("ipp",            631, Tcp,  ""),                           // RFC 8010
    ("ipps",           631, Tcp,  ""),                           // RFC 7472
    ("ldaps",          636, Tcp,  ""),                           // RFC 4513
    ("ldp",            646, Both, ""),                           // RFC 5036
    ("epp",            700, Tcp,  ""),                           // RFC 5734
    ("kerberos-adm",   749, Tcp,  ""),                           // IANA
    ("netconf-ssh",    830, Tcp,  ""),                           // RFC 6242
    ("domain-s",       853, Both, "dns-over-tls"),               // RFC 7858, RFC 9250
    ("rsync",          873, Tcp,  ""),                           // IANA; RFC 5781 for the scheme
    ("ftps-data",      989, Tcp,  ""),                           // RFC 4217
    ("ftps",           990, Tcp,  ""),                           // RFC 4217
    ("telnets",        992, Tcp,  ""),                           // IANA
    ("imaps",          993, Tcp,  ""),                           // RFC 8314
    ("pop3s",          995, Tcp,  ""),                           // RFC 8314
    ("socks",         1080, Tcp,  ""),                           // RFC 1928
    ("rmiregistry",   1099, Tcp,  ""),                           // IANA
    ("openvpn",       1194, Both, ""),                           // IANA
    ("ms-sql-s",      1433, Tcp,  ""),                           // IANA
    ("ms-sql-m",      1434, Udp,  ""),                           // IANA
    ("l2f",           1701, Udp,  "l2tp"),                       // RFC 2661
    ("pptp",          1723, Tcp,  ""),                           // RFC 2637
    ("radius",        1812, Both, ""),                           // RFC 2865, RFC 6613
    ("radius-acct",   1813, Both, "radacct"),                    // RFC 2866
    ("mqtt",          1883, Tcp,  ""),                           // IANA, OASIS MQTT 5.0
    ("ssdp",          1900, Udp,  ""),                           // IANA, UPnP
    ("rtmp",          1935, Tcp,  "macromedia-fcs"),             // IANA
    ("nfs",           2049, Both, ""),                           // RFC 7530
    ("radsec",        2083, Both, ""),                           // RFC 6614, RFC 7360
    ("etcd-client",   2379, Tcp,  ""),                           // IANA
    ("etcd-server",   2380, Tcp,  ""),                           // IANA
    ("iscsi-target",  3260, Tcp,  "iscsi"),                      // RFC 7143
    ("mysql",         3306, Tcp,  ""),                           // IANA
    ("ms-wbt-server", 3389, Tcp,  "rdp"),                        // IANA
    ("stun",          3478, Both, "turn"),                       // RFC 8489, RFC 8656
    ("svn",           3690, Tcp,  "subversion"),                 // IANA
    ("diameter",      3868, Tcp,  "aaa"),                        // RFC 6733
    ("ipsec-nat-t",   4500, Udp,  ""),                           // RFC 3948
    ("iax",           4569, Udp,  ""),                           // RFC 5456
    ("vxlan",         4789, Udp,  ""),                           // RFC 7348
    ("sip",           5060, Both, ""),                           // RFC 3261
    ("sips",          5061, Tcp,  "sip-tls"),                    // RFC 3261
    ("xmpp-client",   5222, Tcp,  "jabber-client xmpp"),         // RFC 6120
    ("xmpp-server",   5269, Tcp,  "jabber-server"),              // RFC 6120
    ("stuns",         5349, Both, "turns"),                      // RFC 8489, RFC 8656
    ("mdns",          5353, Udp,  ""),                           // RFC 6762
    ("llmnr",         5355, Both, ""),                           // RFC 4795
    ("postgresql",    5432, Tcp,  "postgres"),                   // IANA
    ("amqps",         5671, Tcp,  ""),                           // IANA, OASIS AMQP 1.0
    ("amqp",          5672, Tcp,  ""),                           // IANA, OASIS AMQP 1.0
    ("coap",          5683, Both, ""),                           // RFC 7252, RFC 8323
    ("coaps",         5684, Both, ""),                           // RFC 7252, RFC 8323
    ("rfb",           5900, Tcp,  "vnc"),                        // RFC 6143
    ("x11",           6000, Tcp,  ""),                           // RFC 1013
    ("redis",         6379, Tcp,  ""),                           // IANA
    ("ircs-u",        6697, Tcp,  "ircs"),                       // RFC 7194
    ("http-alt",      8080, Tcp,  "webcache"),                   // IANA
    ("mqtts",         8883, Tcp,  "secure-mqtt"),                // IANA, OASIS MQTT 5.0
    ("git",           9418, Tcp,  ""),                           // IANA
    ("memcache",     11211, Both, "memcached"),                  // IANA
    ("mongodb",      27017, Tcp,  ""),                           // IANA
    ("wireguard",    51820, Udp,  ""),                           // IANA
];

#[cfg(test)]
mod tests {
    use super::*;

    fn names(row: &Row) -> impl Iterator<Item = &'static str> {
        std::iter::once(row.0).chain(row.3.split_whitespace())
    }

    #[test]
    fn is_sorted_and_every_name_stands_there_once() {
        assert!(TABLE.len() >= 120, "{}", TABLE.len());
        assert!(TABLE.windows(2).all(|two| two[0].1 <= two[1].1), "sorted by port");
        let mut all: Vec<&str> = TABLE.iter().flat_map(names).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn a_port_has_one_name_for_each_transport_but_for_ipp() {
        for transport in [Tcp, Udp] {
            let on = |row: &&Row| row.2 == transport || row.2 == Both;
            let mut ports: Vec<u16> = TABLE.iter().filter(on).map(|row| row.1).collect();
            ports.dedup();
            let twice = TABLE.iter().filter(on).count() - ports.len();
            assert_eq!(twice, usize::from(transport == Tcp), "{transport:?}");
        }
    }
}
