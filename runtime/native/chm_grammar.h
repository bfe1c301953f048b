/* Grammars at run time, inside the runtime: docs/fstpack.md is the contract, and its names are used here.
 *
 * chm_grammar_pack.c opens containers and checks every table; chm_grammar_vocabulary.c has the trie of a tokenizer;
 * chm_grammar_walk.c steps over bytes; chm_grammar_words.c has the texts of slots; chm_grammar_mask.c makes and keeps masks; chm_grammar_soft.c adds the weights;
 * chm_grammar.c is the interface. After a grammar is open nothing is allocated but the texts of its slots.
 */
#ifndef CHM_GRAMMAR_H
#define CHM_GRAMMAR_H

#include "chm_internal.h"

#define CHM_FRAMES 64u
#define CHM_CELL_REJECT 0xFFFFFFFFu
#define CHM_CELL_RETURN 0xFFFEu  /* low half of a cell */
#define CHM_UNLIMITED 65535u     /* of counts */
#define CHM_NO_TOP 0xFFFFu       /* of an entry: the stack is empty */
#define CHM_MAX_ACTIONS 255u     /* words of one list */
#define CHM_MAX_TOKEN_BYTES 255u
#define CHM_MAX_FORCED_BYTES 256u
#define CHM_NO_LIMIT INT64_MAX

enum { CHM_OP_END, CHM_OP_CHECK, CHM_OP_COUNT, CHM_OP_PUSH, CHM_OP_POP, CHM_OP_SPACE, CHM_OP_LIMIT, CHM_N_OPS };
enum { CHM_STORE_ACCEPTED, CHM_STORE_REJECTED, CHM_STORE_BITMAP, CHM_N_STORES };
#define CHM_ENTRY_ANY_SPACE 1u
#define CHM_GRAMMAR_PROSE 1u
#define CHM_GRAMMAR_DEFAULT 2u
#define CHM_GRAMMAR_JSON_SLOTS 4u /* slots stand in strings of JSON */
#define CHM_GRAMMAR_SLOT 65536u   /* << the kind of a slot that the grammar has */
#define CHM_GRAMMAR_RHYTHM 256u
#define CHM_GRAMMAR_PARAGRAPH 512u
#define CHM_GRAMMAR_REPETITION 1024u

/* Kinds of slots: runs of words of the request, and names of three lists, which are the request's words where there is no
 * list. In the tables a slot is one byte that no text has. */
#define CHM_SLOTS 4u
#define CHM_SLOT_MARK(kind) (0xFFu - (kind))
#define CHM_LOWEST_MARK CHM_SLOT_MARK(CHM_SLOTS - 1)
#define CHM_SLOT_BYTES 64u /* what a slot counts in closing: some entry is no longer */

typedef struct chm_frame {
  uint16_t state, count;
  uint8_t kind, zero[11];
} chm_frame;

/* What decides which texts may follow. */
typedef struct chm_configuration {
  uint16_t state, count;
  uint8_t space, depth;
  uint8_t finished; /* an end token was accepted */
  uint8_t zero;
  chm_frame frames[CHM_FRAMES]; /* [depth], outermost first */
} chm_configuration;
_Static_assert(sizeof(chm_configuration) == 1032, "no padding, so that it can be copied and compared");

typedef struct chm_automaton {
  const uint8_t *classes; /* [256] */
  const uint32_t *delta;  /* [n_states][n_classes] */
  const uint32_t *op;
  const uint16_t *state; /* [n_states][4]: close, room | slice << 8, loop, kind */
  const uint16_t *loop;  /* [n_loops][4]: min, max, unit, 0 */
  const uint32_t *first; /* [n_states + 1], NULL without stored masks */
  const uint32_t *entry; /* [n_entries][8] */
  const uint32_t *data;
  uint32_t n_states, n_classes, n_ops, n_loops, start, cap, flags;
  uint32_t max_room;
} chm_automaton;

/* What a slot may be. All zero: not given. */
typedef struct chm_words {
  bool given;
  uint8_t *text;   /* [bytes] as it is generated */
  uint8_t *marks;  /* [bytes + 1] of places */
  uint32_t *begin; /* [count] entries in the order of their bytes */
  uint32_t *stop;  /* [count] */
  uint32_t bytes, count;
  uint32_t shortest; /* bytes of the shortest text, UINT32_MAX without one */
  uint32_t first;    /* the state that stands for entry 0 */
  uint64_t hash;
  void *block;
  uint64_t allocated;
} chm_words;

/* A text that stays where it is; NULL: none was given. */
typedef struct chm_text {
  const uint8_t *text;
  size_t bytes;
} chm_text;

#define CHM_SHORT_SLICES 16u /* slices by number of characters: 1, 2 … 15, all */

/* A tokenizer as grammars see it. */
typedef struct chm_vocabulary {
  const chm_tokenizer *tokenizer;
  uint32_t count, words;       /* tokens; words of a bitmap */
  const uint32_t *trie, *rest; /* [nodes][2]; rest: of the tokens outside of the slice */
  uint32_t nodes, rest_nodes;
  const uint8_t *chars; /* [count] */
  const uint8_t *soft;  /* [count], NULL if the tables were made here */
  uint32_t *with_bytes; /* bitmap of the tokens with bytes */
  uint32_t *slices;     /* [CHM_SHORT_SLICES] bitmaps: slice tokens of at most 1, 2 … 15 characters, all */
  uint32_t *large;      /* [n_large] slice tokens of 16 characters or more */
  uint32_t n_large, most_chars;
  void *block;
  uint64_t allocated;
  void *tables; /* trie, rest, and chars where they were made here */
  uint64_t tables_allocated;
} chm_vocabulary;

struct chm_pack {
  chm_allocator allocator;
  chm_bundle *bundle;
  chm_pack *base; /* whose vocabulary this uses, or NULL */
  chm_vocabulary own;
  const chm_vocabulary *vocabulary;
  chm_container container;
  bool has_container;
  uint32_t count;            /* grammars */
  const uint32_t *directory; /* [count][16] */
  const uint8_t *names;
  uint64_t names_bytes;
  uint32_t uses; /* grammars and packs that use this one */
};

/* ---- chm_grammar_vocabulary.c ---- */

/* Check tables of a pack, and prepare what is made of them. */
int32_t chm_vocabulary_open(chm_vocabulary *vocabulary, const chm_allocator *allocator);
/* Make the tables of a tokenizer first. */
int32_t chm_vocabulary_make(chm_vocabulary *vocabulary, const chm_allocator *allocator);
void chm_vocabulary_close(chm_vocabulary *vocabulary, const chm_allocator *allocator);

/* ---- chm_grammar_pack.c ---- */

/* Find and check the tables of one grammar. */
int32_t chm_automaton_open(const chm_pack *pack, uint32_t index, chm_automaton *automaton, uint64_t *identity);

/* ---- chm_grammar_walk.c ---- */

#define CHM_NO_ORIGIN 255u

/* A frame of a walk. Frames never change, so that all the places of a walk share them. */
typedef struct chm_link {
  uint32_t parent;
  uint32_t below; /* closing of this frame and those under it */
  uint32_t upper; /* a bound of the same: counts from before the walk as bad as they may be, or in the start frames as good */
  uint16_t state, count;
  uint32_t origin; /* of count, see below */
} chm_link;

/* A place of a walk. origin says what count started from: 0 the count at the start, k the count of the k-th frame from
 * the top at the start, CHM_NO_ORIGIN a new frame. */
typedef struct chm_cursor {
  uint16_t state, count;
  uint8_t space, depth, origin, zero;
  uint32_t top;  /* link, 0 if the stack is empty */
  uint32_t used; /* links from here on are free */
} chm_cursor;

/* A walk over tokens, and what of the configuration at its start it depended on. */
typedef struct chm_walker {
  chm_link *links;                           /* [1 + CHM_FRAMES * (1 + longest)]; the first is the empty stack */
  chm_cursor levels[CHM_MAX_TOKEN_BYTES + 1]; /* by number of bytes */
  uint32_t base;                             /* links 1 … base are the frames at the start */
  uint32_t count[CHM_FRAMES + 1];            /* at the start, by origin */
  uint32_t low[CHM_FRAMES + 1], high[CHM_FRAMES + 1]; /* other counts in this range would have done the same */
  uint32_t reach;                            /* start frames that were read */
  uint32_t highest;                          /* most frames */
  int64_t rise, calm;                        /* most that closing rises; a bound of closing at the start, from below */
  bool bottom;                               /* the end of the stack was met */
  bool space;                                /* whitespace so far was looked at */
  bool unique;                               /* some other thing mattered */
  uint32_t kept;                             /* start frames under the place that was stored last */
} chm_walker;

typedef struct chm_memo {
  uint32_t next; /* in the list of its bucket: index + 1, or 0 */
  uint16_t state, low, high;
  int16_t space; /* -1: any */
  uint8_t reach, peak;
  bool bottom, kept, recent;
  bool partial; /* the slice tokens, which depend on the count, are not in the mask */
  uint8_t amount; /* 0, 1, or 2 for more tokens */
  int32_t single; /* the token if there is one */
  int64_t rise;
  struct {
    uint16_t state, low, high;
  } frames[16]; /* [reach] from the top */
} chm_memo;

#define CHM_MEMO_BUCKETS 256u
#define CHM_MEMO_BYTES (4u << 20) /* of the bitmaps, if they are large */

struct chm_grammar {
  chm_allocator allocator;
  uint64_t allocated;
  uint32_t busy; /* 1 while a call runs that writes to it */
  chm_pack *pack;
  const chm_vocabulary *vocabulary;
  chm_automaton automaton;
  uint64_t identity; /* of the tables, and of what the slots may be */
  uint64_t tables;   /* identity of the tables */
  chm_words slots[CHM_SLOTS];
  chm_text given[CHM_SLOTS]; /* the request as the tokenizer has it, and the lists */
  bool has_slots;
  uint32_t cap;      /* most optional whitespace in a row */
  chm_configuration now;
  chm_walker walker;
  chm_memo *memos; /* [n_memos] */
  uint32_t *bits;  /* [n_memos + 1] bitmaps, the last for masks that are not kept */
  uint32_t n_memos, n_used, hand;
  uint32_t buckets[CHM_MEMO_BUCKETS];
};

/* ---- chm_grammar_words.c ---- */

/* The runs of words of a text, and the names of a list, one a line, without other names of it after tabs. json: they stand in strings of JSON. Nothing is there
 * after a failure. */
bool chm_word_character(uint32_t code, uint32_t class); /* that goes on with one before it */
int32_t chm_words_of_request(chm_words *words, const uint8_t *text, size_t bytes, bool json, const chm_allocator *allocator);
int32_t chm_words_of_list(chm_words *words, const uint8_t *text, size_t bytes, bool json, const chm_allocator *allocator);
void chm_words_close(chm_words *words, const chm_allocator *allocator);
/* The entry after one more byte where n bytes of an entry were said; UINT32_MAX where none goes on so. At n = 0 entry 0. */
uint32_t chm_words_step(const chm_words *words, uint32_t entry, uint32_t n, uint8_t byte);
/* Fewest bytes to a place where an entry may end. */
uint32_t chm_words_closing(const chm_words *words, uint32_t entry, uint32_t n);

/* ---- chm_heard.c ---- */

/* The lines of lists whose names a request says, all of a list where it says none of them. to: room for the lists, and for a byte
 * more of each; heard points there, or to what was given. */
int32_t chm_heard(const chm_text *given, chm_text *heard, uint8_t *to, const chm_allocator *allocator);

#define CHM_MOST_HINTED 8u /* names of a list in a hint */
_Static_assert(CHM_HINT_BYTES >= (CHM_SLOTS - 1) * CHM_MOST_HINTED * 258, "names have up to 255 bytes");

/* What a model is told of the names that a request says: reference/heard.py, hint. to: room for CHM_HINT_BYTES. */
int32_t chm_hint(const chm_text *given, uint8_t *to, size_t *used, const chm_allocator *allocator);

/* ---- chm_grammar_walk.c ---- */

/* The words of a state that stands for an entry; *entry is its number. NULL for other states. */
const chm_words *chm_words_of_state(const chm_grammar *grammar, uint32_t state, uint32_t *entry);
void chm_walk_start(chm_grammar *grammar, const chm_configuration *from);
/* Walk from the start over at most 255 bytes; NULL where they are not allowed. */
const chm_cursor *chm_walk_bytes(chm_grammar *grammar, const uint8_t *data, uint32_t bytes);
/* Set the bits of the tokens of a trie that are allowed, and lead to a closing of at most limit. */
void chm_walk_trie(chm_grammar *grammar, const uint32_t *nodes, uint32_t count, int64_t limit, uint32_t *bits);
/* Take the rise of an accepted token into account. */
void chm_walk_note_rise(chm_grammar *grammar, const chm_cursor *at);
int64_t chm_walk_closing(const chm_grammar *grammar, const chm_cursor *at);
void chm_walk_store(chm_grammar *grammar, const chm_cursor *at, chm_configuration *to);

void chm_configuration_start(const chm_grammar *grammar, chm_configuration *to);
bool chm_configuration_valid(const chm_grammar *grammar, const chm_configuration *it);
bool chm_configuration_complete(const chm_grammar *grammar, const chm_configuration *it);
int64_t chm_configuration_closing(const chm_grammar *grammar, const chm_configuration *it);
/* Accept a token, end tokens included; false, and nothing done, where it is not allowed. */
bool chm_configuration_accept(chm_grammar *grammar, chm_configuration *it, int32_t token);

/* ---- chm_grammar.c ---- */

/* The error where a generation cannot begin, because it is not known what may stand in a slot, or nothing may. */
int32_t chm_slots_missing(const chm_grammar *grammar);

/* ---- chm_grammar_mask.c ---- */

typedef struct chm_allowed {
  const uint32_t *bits; /* until the next call */
  uint32_t amount;      /* 0, 1, or 2 for more tokens */
  int32_t single;       /* the token if there is one */
} chm_allowed;

/* left: tokens that may still be made, or negative without a limit. */
chm_allowed chm_grammar_allowed(chm_grammar *grammar, const chm_configuration *at, int64_t left);

/* ---- chm_grammar_soft.c ---- */

/* Tokens since the last sentence end and blank line. */
typedef struct chm_rhythm {
  uint32_t sentence, paragraph;
} chm_rhythm;

#define CHM_SOFT_MOST 512 /* of a weight, in 1/256 nat */
#define CHM_SOFT_SENTENCE_END 1u
#define CHM_SOFT_BLANK_LINE 2u
#define CHM_SOFT_STRUCTURE 8u

/* What the ledger adds to ends of sentences and to blank lines, in 1/256 nat. */
typedef struct chm_closing {
  int32_t sentence, paragraph;
} chm_closing;

/* Whether logits are to be changed at all. */
bool chm_soft_applies(const chm_grammar *grammar, chm_closing closing);
/* logits plus the weights; history[n_history]: the last tokens, oldest first from index start on, around. */
void chm_soft_add(const chm_grammar *grammar, const chm_rhythm *rhythm, chm_closing closing, const int32_t *history,
                  uint32_t seen, const float *logits, int32_t vocab, float *out);
void chm_soft_count(const chm_grammar *grammar, chm_rhythm *rhythm, int32_t token);

#endif
