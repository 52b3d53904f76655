# What one unit of the journal says; the pages of its databases follow it, packed. docs/formats.md describes the framing.
#
# Fields are only ever added, with the next free number: journals written by every released version must stay readable.
# The generated code is committed, so building needs neither the compiler nor its plug-in. After a change:
#
#   apt-get install capnproto && cargo install capnpc --version 0.27.0
#   cd host/src/storage/journal && capnp compile -orust journal.capnp && rustfmt --edition 2024 journal_capnp.rs
#
# The generated code is tied to the minor version of the `capnp` crate (=0.27 in host/Cargo.toml).
@0xd3a1f27c9b6e4085;

# What capnpc's own rust.capnp declares; declared here so that one file is enough.
annotation parentModule @0xabee386cd1450364 (file) :Text;
$parentModule("storage::journal");

# What becomes real together: the databases of one tree that a turn changed, and the tree itself.
struct Unit {
  # Name of the namespace's directory.
  namespace @0 :Text;
  # 32 bytes.
  object @1 :Data;
  # The object's units are numbered from 1, without a gap.
  seq @2 :UInt64;
  # The hash of the object's unit before this one; 0 for the first.
  prev @3 :UInt64;
  # When it was queued, by the host's clock: milliseconds since 1970. For people; nothing is decided by it.
  atMs @4 :UInt64;
  # The number of a unit that this one repeats, because files could not be written for long; 0: of none. It counts where that one is
  # not in the journal any more, and before all others. It has no place among the object's units: `seq` and `prev` say what comes
  # after all of them that its files must have shown then.
  again @5 :UInt64;
  databases @6 :List(Database);
  index :union {
    unchanged @7 :Void;
    append @8 :Append;
    # The `.facets` file is gone: no facet but the root is stored.
    removed @9 :Void;
  }
}

struct Database {
  # 0: the root's.
  file @0 :UInt32;
  union {
    # Pages of a commit.
    pages @1 :Pages;
    # A copy is going to be made: of what this database of the object is here, between the object's units. It is nobody's until a
    # unit says `copied`; if none does, it goes.
    copying @2 :UInt32;
    # The copy that was announced so is complete on disk, and somebody's: what was copied, with these pages over it.
    copied @3 :Pages;
    # The database is gone.
    removed @4 :Void;
  }
}

struct Pages {
  # True for the first commit of a database: its pages are all there are, whatever lies on disk is replaced.
  whole @0 :Bool;
  # Pages of the database after the commit.
  pageCount @1 :UInt32;
  # Numbers of the pages whose bytes follow, in order; one that comes twice counts the last time.
  numbers @2 :List(UInt32);
  # Bytes they take after the message, and whether they are packed (LZ4 block) or as they are.
  storedBytes @3 :UInt64;
  packed @4 :Bool;
  # What the commit did to the facet's alarm.
  alarm :union {
    unchanged @5 :Void;
    none @6 :Void;
    # Milliseconds since 1970.
    dueMs @7 :UInt64;
  }
}

struct Append {
  # The header of a new file; empty if the file is there.
  header @0 :Data;
  # The framed record as it is appended.
  record @1 :Data;
  # Its number.
  seq @2 :UInt64;
}
