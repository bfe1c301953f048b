/* The ledger of open obligations: what the text of a generation has to close; docs/ledger.md has the numbers.
 *
 * It is a function of the tokens that were chosen. Its hard part follows the frames of the place in the grammar, which masks
 * close; its soft part are sentences and lists of prose, whose ends get more likely the more there is to close.
 */
#include "chm_session.h"

CHM_COLD_BEGIN

#define MOST_NUMBER 65535u /* of tokens that are counted, and of settings */
#define PROSE_TEXT(grammar) ((grammar)->automaton.flags & CHM_GRAMMAR_PROSE && (grammar)->vocabulary->soft)

enum { BRACKET, STRING, FENCE, OBJECT, SENTENCE, LIST };
/* Tokens after which an obligation is as urgent as can be. */
static const uint32_t due[CHM_OBLIGATIONS] = {512, 256, 2048, 1024, 60, 256};

/* How a line begins, as far as it tells an item of a list. */
enum { AT_START, AFTER_SIGN, IN_NUMBER, AFTER_NUMBER, WITHIN };

/* What a frame of a kind waits for; docs/fstpack.md has the kinds. */
static uint32_t obligation_of(uint32_t kind) {
  if (kind == 17 || kind == 18) return OBJECT;
  if (kind == 7 || kind == 8) return FENCE;
  if ((kind >= 4 && kind <= 6) || (kind >= 9 && kind <= 12)) return STRING;
  return BRACKET;
}

static bool is_blank(uint8_t byte) { return byte == ' ' || byte == '\t' || byte == '\r'; }

/* The line after one more byte: *line is how it begins. True where it turns out to be an item. */
static bool begins_item(uint32_t *line, uint8_t byte) {
  bool digit = byte >= '0' && byte <= '9', blank = is_blank(byte);
  uint32_t before = *line;
  *line = WITHIN;
  if (byte == '\n') *line = AT_START;
  else if (before == AT_START && blank) *line = AT_START;
  else if (before == AT_START && (byte == '-' || byte == '*' || byte == '+')) *line = AFTER_SIGN;
  else if ((before == AT_START || before == IN_NUMBER) && digit) *line = IN_NUMBER;
  else if (before == IN_NUMBER && (byte == '.' || byte == ')')) *line = AFTER_NUMBER;
  else return (before == AFTER_SIGN || before == AFTER_NUMBER) && blank;
  return false;
}

/* Sentences are opened by words and closed by their ends, lists by items and by blank lines. */
static void read_prose(const chm_grammar *grammar, chm_ledger *ledger, int32_t token) {
  const chm_tokenizer *tokenizer = grammar->vocabulary->tokenizer;
  const uint8_t *text = tokenizer->bytes + tokenizer->offsets[token];
  uint32_t class = grammar->vocabulary->soft[token];
  if (class & CHM_SOFT_SENTENCE_END) ledger->sentence = 0;
  else if (!ledger->sentence && !(class & CHM_SOFT_STRUCTURE)) ledger->sentence = ledger->tokens;
  for (uint32_t i = 0; i < tokenizer->lengths[token]; ++i) {
    if (ledger->line == AT_START && text[i] == '\n') ledger->list = 0;
    if (begins_item(&ledger->line, text[i]) && !ledger->list) ledger->list = ledger->tokens;
  }
}

void chm_ledger_start(chm_session *session) {
  chm_ledger *ledger = &session->sequence.ledger;
  memset(&ledger->tokens, 0, sizeof *ledger - sizeof ledger->on);
  uint32_t on = session->grammar && session->ledger.obligations;
  __atomic_store_n(&ledger->on, on, __ATOMIC_RELAXED); /* a snapshot's size depends on it */
}

void chm_ledger_take(chm_session *session, int32_t token) {
  chm_ledger *ledger = &session->sequence.ledger;
  const chm_grammar *grammar = session->grammar;
  uint32_t depth = session->sequence.place.depth;
  if (!ledger->on || session->sequence.place.finished) return;
  ++ledger->tokens;
  for (uint32_t i = grammar->walker.kept; i < CHM_FRAMES; ++i) ledger->opened[i] = i < depth ? ledger->tokens : 0;
  if (PROSE_TEXT(grammar)) read_prose(grammar, ledger, token);
}

bool chm_ledger_valid(const chm_ledger *ledger) {
  for (uint32_t i = 0; i < CHM_FRAMES; ++i)
    if (ledger->opened[i] > ledger->tokens) return false;
  return ledger->on <= 1 && ledger->tokens <= INT32_MAX && ledger->sentence <= ledger->tokens &&
         ledger->list <= ledger->tokens && ledger->line <= WITHIN;
}

typedef struct chm_debts {
  uint32_t counts[CHM_OBLIGATIONS], pressure; /* in 32640ths */
} chm_debts;

static void owe(const chm_session *session, chm_debts *debts, uint32_t kind, uint32_t opened) {
  if (!(session->ledger.obligations >> kind & 1)) return;
  uint32_t age = session->sequence.ledger.tokens - opened;
  ++debts->counts[kind];
  debts->pressure += 255 + (age < due[kind] ? 255 * age / due[kind] : 255);
}

/* What is open in the text of a grammar; nothing without one. Soft obligations count as long as there is room beside the hard ones. */
static chm_debts debts_of(const chm_session *session) {
  const chm_ledger *ledger = &session->sequence.ledger;
  const chm_configuration *place = &session->sequence.place;
  const uint32_t soft[] = {ledger->sentence, ledger->list};
  chm_debts debts = {{0}, 0};
  if (!session->grammar || !ledger->on || !session->ledger.obligations) return debts; /* a grammar's place was checked */
  for (uint32_t i = 0; i < place->depth; ++i) owe(session, &debts, obligation_of(place->frames[i].kind), ledger->opened[i]);
  for (uint32_t i = 0; i < 2; ++i) {
    uint32_t open = 0;
    for (uint32_t kind = 0; kind < CHM_OBLIGATIONS; ++kind) open += debts.counts[kind];
    if (soft[i] && open < session->ledger.outstanding) owe(session, &debts, SENTENCE + i, soft[i]);
  }
  return debts;
}

float chm_ledger_pressure(const chm_session *session) {
  return (float)debts_of(session).pressure / (float)CHM_LEDGER_WHOLE;
}

chm_closing chm_ledger_closing(const chm_session *session) {
  chm_debts debts = debts_of(session);
  uint64_t nudge = (uint64_t)session->ledger.weight * debts.pressure / CHM_LEDGER_WHOLE;
  int32_t most = nudge < CHM_SOFT_MOST ? (int32_t)nudge : CHM_SOFT_MOST;
  return (chm_closing){debts.counts[SENTENCE] ? most : 0, debts.counts[LIST] ? most : 0};
}

int32_t chm_session_set_ledger(chm_session *session, uint32_t obligations, uint32_t outstanding, uint32_t weight) {
  int32_t status = chm_session_enter(session);
  if (status) return status;
  if (obligations >> CHM_OBLIGATIONS)
    status = chm_fail(CHM_ERROR_ARGUMENT, "an obligation of the ledger is unknown");
  else if (outstanding > CHM_FRAMES || weight > MOST_NUMBER)
    status = chm_fail(CHM_ERROR_ARGUMENT, "the ledger has at most %u obligations, and a weight of at most %u",
                      (uint64_t)CHM_FRAMES, (uint64_t)MOST_NUMBER);
  else
    session->ledger = (chm_ledger_settings){obligations, outstanding, weight};
  return chm_session_leave(session, status);
}

int32_t chm_session_ledger(chm_session *session, uint32_t *numbers, size_t count) {
  if (!numbers || count != CHM_LEDGER_NUMBERS)
    return chm_fail(CHM_ERROR_ARGUMENT, "the ledger has %u numbers", (uint64_t)CHM_LEDGER_NUMBERS);
  int32_t status = chm_session_enter(session);
  if (status) return status;
  memset(numbers, 0, count * sizeof *numbers);
  if (chm_session_follows(session)) {
    chm_debts debts = debts_of(session);
    memcpy(numbers, debts.counts, sizeof debts.counts);
    numbers[CHM_OBLIGATIONS] = debts.pressure;
  }
  return chm_session_leave(session, CHM_OK);
}

CHM_COLD_END
