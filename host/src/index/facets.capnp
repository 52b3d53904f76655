# One record of an object's `.facets` file; docs/formats.md describes the framing around it.
#
# Fields are only ever added, with the next free number: files written by every released version must stay readable.
# The generated code is committed, so building needs neither the compiler nor its plug-in. After a change:
#
#   apt-get install capnproto && cargo install capnpc --version 0.27.0
#   cd host/src/index && capnp compile -orust facets.capnp && rustfmt --edition 2024 facets_capnp.rs
#
# The generated code is tied to the minor version of the `capnp` crate (=0.27 in host/Cargo.toml).
@0xb1c5e60a6c3f9d27;

# What capnpc's own rust.capnp declares; declared here so that one file is enough.
annotation parentModule @0xabee386cd1450364 (file) :Text;
$parentModule("index");

# Changes that become real together.
struct Record {
  changes @0 :List(Change);
}

struct Change {
  union {
    create @0 :Create;
    restart @1 :Restart;
    # The file id of a facet that is gone. A deleted subtree has one of these for each of its facets.
    delete @2 :UInt32;
    # The file id of a facet that had an entry only for what is below it, and has a database from now on. 0: the root, which
    # has no entry and exists without one.
    store @3 :UInt32;
    # The file id of a facet whose database is gone, and which keeps its entry for what is below it. 0: the root.
    empty @4 :UInt32;
    # What the object is called: the name that leads to its id. None is recorded of an object that is only known by its id.
    name @5 :Text;
  }
}

struct Create {
  file @0 :UInt32;
  # 0: the root. Otherwise the file id of a facet created earlier.
  parent @1 :UInt32;
  name @2 :Text;
  startup @3 :Startup;
  # There is a database of that file id. If not, the entry is there for what is below it.
  database @4 :Bool;
}

struct Restart {
  file @0 :UInt32;
  startup @1 :Startup;
}

struct Startup {
  # SHA-256 of the component, 32 bytes.
  class @0 :Data;
  propsFormat @1 :Format;
  props @2 :Data;
  id :union {
    # As the parent's.
    inherited @3 :Void;
    # 32 bytes.
    object @4 :Data;
    text @5 :Text;
  }
  memoryMib @6 :Limit;
  cpuMs @7 :Limit;
  wallMs @8 :Limit;
  storageMib @9 :Limit;
  onFailure @10 :FailurePolicy;
  # In the order in which the parent gave them.
  grants @11 :List(Grant);
  withheld @12 :List(Text);
  treeMemoryMib @13 :Limit;
  treeStorageMib @14 :Limit;
}

# An ability that the facet has only because its parent gave it.
struct Grant {
  name @0 :Text;
  format @1 :Format;
  argument @2 :Data;
}

# Absent: inherited. Zero is a value.
struct Limit {
  value @0 :UInt64;
}

enum Format {
  bytes @0;
  json @1;
  cbor @2;
}

enum FailurePolicy {
  isolate @0;
  escalate @1;
}
