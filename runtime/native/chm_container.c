/* Reader of containers: safetensors files with the stricter rules of docs/bundle.md. No byte of the file is trusted;
 * sums and products are checked, every number has a limit, and time and memory are linear in the size of the header. */
#include "chm_json.h"

CHM_COLD_BEGIN

static uint32_t dtype_bytes(chm_text name) {
#define CHM_CASE(dtype, size) \
  if (chm_text_is(name, #dtype)) return size;
  CHM_DTYPES(CHM_CASE)
#undef CHM_CASE
  return 0;
}

static bool is_name(chm_text text) {
  if (!text.bytes || text.bytes > CHM_MAX_NAME_BYTES) return false;
  for (size_t i = 0; i < text.bytes; ++i) {
    uint8_t c = text.start[i];
    bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    if (!plain && (i == 0 || (c != '.' && c != '-'))) return false;
  }
  return true;
}

static bool starts_with(chm_text text, const char *prefix) {
  size_t i = 0;
  for (; prefix[i]; ++i)
    if (i == text.bytes || text.start[i] != (uint8_t)prefix[i]) return false;
  return true;
}

/* order of byte strings */
static int compare_names(const uint8_t *a, size_t a_bytes, const uint8_t *b, size_t b_bytes) {
  int order = memcmp(a, b, a_bytes < b_bytes ? a_bytes : b_bytes);
  return order ? order : (a_bytes > b_bytes) - (a_bytes < b_bytes);
}

typedef struct chm_metadata {
  chm_text kind, abi, config, contents, sections, tokenizer, model;
} chm_metadata;

static bool parse_metadata(chm_json *json, chm_metadata *metadata) {
  chm_text key, value, none = {NULL, 0};
  bool more;
  *metadata = (chm_metadata){none, none, none, none, none, none, none};
  if (!chm_json_take(json, '{')) return false;
  do {
    if (!chm_json_string(json, &key) || !chm_json_take(json, ':') || !chm_json_string(json, &value)) return false;
    chm_text *known = chm_text_is(key, CHM_KEY_KIND)       ? &metadata->kind
                      : chm_text_is(key, CHM_KEY_ABI)      ? &metadata->abi
                      : chm_text_is(key, CHM_KEY_CONFIG)   ? &metadata->config
                      : chm_text_is(key, CHM_KEY_CONTENTS) ? &metadata->contents
                      : chm_text_is(key, CHM_KEY_SECTIONS) ? &metadata->sections
                      : chm_text_is(key, CHM_KEY_TOKENIZER) ? &metadata->tokenizer
                      : chm_text_is(key, CHM_KEY_MODEL)    ? &metadata->model
                                                            : NULL;
    if (known && known->start) return false; /* twice */
    if (known) *known = value;
    if (!chm_json_next(json, '}', &more)) return false;
  } while (more);
  return metadata->kind.start && metadata->abi.start && metadata->config.start && metadata->contents.start &&
         metadata->sections.start;
}

bool chm_section_name(const char *name) {
  chm_text text = {(const uint8_t *)name, 0};
  while (name[text.bytes]) ++text.bytes;
  return is_name(text) && !starts_with(text, "__");
}

typedef struct chm_parsed {
  chm_text dtype, shape;
  uint64_t elements, begin, end;
  uint32_t dimensions;
  bool too_large; /* the number of elements does not fit */
} chm_parsed;

static bool parse_shape(chm_json *json, chm_parsed *tensor) {
  bool more, zero = false;
  tensor->elements = 1;
  tensor->dimensions = 0;
  tensor->too_large = false;
  if (!chm_json_take(json, '[')) return false;
  tensor->shape = (chm_text){json->at, 0};
  if (chm_json_take(json, ']')) return true;
  do {
    uint64_t extent;
    if (!chm_json_number(json, &extent)) return false;
    ++tensor->dimensions;
    zero |= extent == 0;
    if (!tensor->too_large && !chm_multiply(tensor->elements, extent ? extent : 1, &tensor->elements))
      tensor->too_large = true;
    tensor->shape.bytes = (size_t)(json->at - tensor->shape.start);
    if (!chm_json_next(json, ']', &more)) return false;
  } while (more);
  if (zero) {
    tensor->elements = 0;
    tensor->too_large = false;
  }
  return true;
}

static bool parse_offsets(chm_json *json, chm_parsed *tensor) {
  return chm_json_take(json, '[') && chm_json_number(json, &tensor->begin) && chm_json_take(json, ',') &&
         chm_json_number(json, &tensor->end) && chm_json_take(json, ']');
}

static bool parse_tensor(chm_json *json, chm_parsed *tensor) {
  bool more;
  uint32_t seen = 0;
  if (!chm_json_take(json, '{')) return false;
  do {
    chm_text key;
    if (!chm_json_string(json, &key) || !chm_json_take(json, ':')) return false;
    uint32_t bit = chm_text_is(key, "dtype") ? 1u : chm_text_is(key, "shape") ? 2u : chm_text_is(key, "data_offsets") ? 4u : 0;
    if (!bit || seen & bit) return false;
    seen |= bit;
    if (bit == 1 ? !chm_json_string(json, &tensor->dtype) : bit == 2 ? !parse_shape(json, tensor) : !parse_offsets(json, tensor))
      return false;
    if (!chm_json_next(json, '}', &more)) return false;
  } while (more);
  return seen == 7;
}

static bool parse_hex(chm_text text, size_t digits, uint32_t *value) {
  if (text.bytes != digits) return false;
  uint32_t result = 0;
  for (size_t i = 0; i < digits; ++i) {
    uint8_t c = text.start[i];
    if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
    result = result << 4 | (uint32_t)(c <= '9' ? c - '0' : c - 'a' + 10);
  }
  *value = result;
  return true;
}

/* One row of chimera.sections: {"bytes":n,"crc32":"…","sha256":"…"} */
static bool parse_row(chm_json *json, uint64_t *bytes, uint32_t *crc) {
  bool more;
  uint32_t seen = 0, ignored;
  if (!chm_json_take(json, '{')) return false;
  do {
    chm_text key, value;
    if (!chm_json_string(json, &key) || !chm_json_take(json, ':')) return false;
    uint32_t bit = chm_text_is(key, "bytes") ? 1u : chm_text_is(key, "crc32") ? 2u : chm_text_is(key, "sha256") ? 4u : 0;
    if (!bit || seen & bit) return false;
    seen |= bit;
    if (bit == 1) {
      if (!chm_json_number(json, bytes)) return false;
    } else if (!chm_json_string(json, &value) || !(bit == 2 ? parse_hex(value, 8, crc) : parse_hex(value, 64, &ignored))) {
      return false;
    }
    if (!chm_json_next(json, '}', &more)) return false;
  } while (more);
  return seen == 7;
}

typedef struct chm_header {
  const char *what;
  chm_json tensors;  /* after the metadata */
  chm_json sections; /* the nested text of chimera.sections */
  chm_metadata metadata;
  uint64_t data_start, file_bytes;
} chm_header;

static int32_t invalid(const chm_header *header, const char *why) {
  return chm_fail(CHM_ERROR_HEADER, "%s: the header is not valid: %s", header->what, why);
}

/* Check one tensor against the one before it (which ends at *position) and fill its entry. */
static int32_t check_tensor(const chm_header *header, chm_json *sections, bool *first_row, chm_text name,
                            const chm_parsed *tensor, uint64_t *position, chm_entry *entry) {
  const char *what = header->what;
  uint64_t size = 0, end;
  uint32_t element = dtype_bytes(tensor->dtype);
  if (!is_name(name)) return invalid(header, "a section name");
  if (!element) return invalid(header, "an unknown dtype");
  if (tensor->dimensions > CHM_MAX_DIMENSIONS)
    return chm_fail(CHM_ERROR_LIMIT, "%s: section %q has %u dimensions", what, name.start, name.bytes,
                    (uint64_t)tensor->dimensions);
  if (tensor->too_large || !chm_multiply(tensor->elements, element, &size) || tensor->end < tensor->begin ||
      tensor->end - tensor->begin != size)
    return chm_fail(CHM_ERROR_LAYOUT, "%s: shape and offsets of section %q differ", what, name.start, name.bytes);
  if (tensor->begin != *position)
    return chm_fail(CHM_ERROR_LAYOUT, "%s: section %q starts at %u, the one before ends at %u", what, name.start,
                    name.bytes, tensor->begin, *position);
  if (!chm_add(header->data_start, tensor->end, &end) || end > header->file_bytes)
    return chm_fail(CHM_ERROR_NOT_A_CONTAINER, "%s: section %q ends beyond the end of the file", what, name.start,
                    name.bytes);
  *position = tensor->end;
  *entry = (chm_entry){.name = name.start,
                       .dtype = tensor->dtype.start,
                       .shape = tensor->shape.start,
                       .name_bytes = (uint32_t)name.bytes,
                       .dtype_bytes = (uint32_t)tensor->dtype.bytes,
                       .shape_bytes = (uint32_t)tensor->shape.bytes,
                       .element_bytes = element,
                       .is_pad = starts_with(name, CHM_PAD_PREFIX),
                       .begin = header->data_start + tensor->begin,
                       .bytes = size};
  if (entry->is_pad) return CHM_OK;
  if (starts_with(name, "__")) return invalid(header, "a reserved section name");
  if (tensor->begin % CHM_SECTION_ALIGNMENT)
    return chm_fail(CHM_ERROR_LAYOUT, "%s: section %q is not aligned", what, name.start, name.bytes);

  chm_text row;
  uint64_t bytes = 0;
  if ((!*first_row && !chm_json_take(sections, ',')) || !chm_json_string(sections, &row) ||
      compare_names(row.start, row.bytes, name.start, name.bytes) || !chm_json_take(sections, ':') ||
      !parse_row(sections, &bytes, &entry->crc32))
    return invalid(header, CHM_KEY_SECTIONS " does not list the sections in their order");
  *first_row = false;
  if (bytes != size)
    return chm_fail(CHM_ERROR_LAYOUT, "%s: two sizes are given for section %q", what, name.start, name.bytes);
  return CHM_OK;
}

/* Walk over all tensors; entries NULL: only count them. */
static int32_t walk_tensors(const chm_header *header, chm_entry *entries, uint32_t *count) {
  chm_json json = header->tensors, sections = header->sections;
  uint64_t position = 0, end = 0;
  uint32_t found = 0;
  bool more, first_row = true;
  if (!chm_json_take(&sections, '{')) return invalid(header, CHM_KEY_SECTIONS);
  if (!chm_json_next(&json, '}', &more)) return invalid(header, "its structure");
  while (more) {
    chm_text name;
    chm_parsed tensor;
    chm_entry entry;
    if (!chm_json_string(&json, &name) || !chm_json_take(&json, ':') || !parse_tensor(&json, &tensor))
      return invalid(header, "its structure");
    if (found == CHM_MAX_SECTIONS) return chm_fail(CHM_ERROR_LIMIT, "%s: too many sections", header->what);
    int32_t status = check_tensor(header, &sections, &first_row, name, &tensor, &position, entries ? &entries[found] : &entry);
    if (status) return status;
    ++found;
    if (!chm_json_next(&json, '}', &more)) return invalid(header, "its structure");
  }
  chm_json_spaces(&json);
  if (json.at != json.end) return invalid(header, "text after its end");
  if (!chm_json_take(&sections, '}')) return invalid(header, CHM_KEY_SECTIONS " lists a section that is not there");
  chm_json_spaces(&sections);
  if (sections.at != sections.end) return invalid(header, CHM_KEY_SECTIONS);
  if (!chm_add(header->data_start, position, &end) || end != header->file_bytes)
    return chm_fail(CHM_ERROR_LAYOUT, "%s: %u bytes after the last section", header->what, header->file_bytes - end);
  *count = found;
  return CHM_OK;
}

static bool entry_less(const chm_entry *a, const chm_entry *b) {
  return compare_names(a->name, a->name_bytes, b->name, b->name_bytes) < 0;
}

/* Heap sort of the indices by name: no recursion, and no input makes it slow. */
static void sort_by_name(const chm_container *container) {
  uint32_t *order = container->by_name;
  const chm_entry *entries = container->entries;
  for (uint32_t start = container->count / 2, end = container->count; end > 1;) {
    uint32_t moving;
    if (start) {
      moving = order[--start];
    } else {
      moving = order[--end];
      order[end] = order[0];
    }
    uint32_t hole = start;
    for (uint32_t child = 2 * hole + 1; child < end; child = 2 * hole + 1) {
      if (child + 1 < end && entry_less(&entries[order[child]], &entries[order[child + 1]])) ++child;
      if (!entry_less(&entries[moving], &entries[order[child]])) break;
      order[hole] = order[child];
      hole = child;
    }
    order[hole] = moving;
  }
}

static int32_t check_contents(const chm_container *container, const char *what) {
  chm_crc32_tables tables;
  chm_crc32_prepare(&tables);
  for (uint32_t i = 0; i < container->count; ++i) {
    const chm_entry *entry = &container->entries[i];
    const uint8_t *data = container->file + entry->begin;
    if (entry->is_pad) {
      for (uint64_t k = 0; k < entry->bytes; ++k)
        if (data[k]) return chm_fail(CHM_ERROR_CHECKSUM, "%s: padding at %u is not zero", what, entry->begin);
    } else if (chm_crc32(&tables, data, entry->bytes) != entry->crc32) {
      return chm_fail(CHM_ERROR_CHECKSUM, "%s: section %q is damaged", what, entry->name, (size_t)entry->name_bytes);
    }
  }
  return CHM_OK;
}

static int32_t read_header(const uint8_t *file, size_t bytes, const char *kind, chm_header *header) {
  const char *what = header->what;
  uint64_t header_bytes = 0;
  if (bytes < 10) return chm_fail(CHM_ERROR_NOT_A_CONTAINER, "%s: %u bytes are too few", what, (uint64_t)bytes);
  memcpy(&header_bytes, file, 8);
  if (file[8] != '{') return chm_fail(CHM_ERROR_NOT_A_CONTAINER, "%s: not a chimera container", what);
  if (header_bytes > CHM_MAX_HEADER_BYTES)
    return chm_fail(CHM_ERROR_LIMIT, "%s: a header of %u bytes is over the limit", what, header_bytes);
  header->data_start = 8 + header_bytes;
  header->file_bytes = bytes;
  if (header->data_start > bytes) return chm_fail(CHM_ERROR_NOT_A_CONTAINER, "%s: cut short in its header", what);
  if (header->data_start % CHM_DATA_ALIGNMENT) return invalid(header, "its length");

  chm_json json = {file + 8, file + header->data_start, false};
  chm_text key;
  if (!chm_json_take(&json, '{') || !chm_json_string(&json, &key) || !chm_text_is(key, "__metadata__") ||
      !chm_json_take(&json, ':') || !parse_metadata(&json, &header->metadata))
    return invalid(header, "__metadata__");
  header->tensors = json;
  chm_text sections = header->metadata.sections, abi = header->metadata.abi;
  header->sections = (chm_json){sections.start, sections.start + sections.bytes, true};

  chm_text major = {abi.start, 0};
  while (major.bytes < abi.bytes && abi.start[major.bytes] != '.') ++major.bytes;
  chm_text expected = {(const uint8_t *)CHM_ABI, 0};
  while (CHM_ABI[expected.bytes] != '.') ++expected.bytes;
  if (compare_names(major.start, major.bytes, expected.start, expected.bytes))
    return chm_fail(CHM_ERROR_VERSION, "%s: version %q, this runtime reads " CHM_ABI, what, abi.start, abi.bytes);
  if (!chm_text_is(header->metadata.kind, kind))
    return chm_fail(CHM_ERROR_VERSION, "%s: a container of kind %q, not %s", what, header->metadata.kind.start,
                    header->metadata.kind.bytes, kind);
  return CHM_OK;
}

uint64_t chm_container_bytes(uint32_t sections) { return (uint64_t)sections * (sizeof(chm_entry) + sizeof(uint32_t)) + 1; }

int32_t chm_container_open(const void *file, size_t bytes, const char *kind, const char *what, uint32_t flags,
                           const chm_allocator *allocator, chm_container *container) {
  chm_header header = {.what = what};
  uint32_t count = 0;
  *container = (chm_container){.file = file};
  int32_t status = read_header(file, bytes, kind, &header);
  if (!status) status = walk_tensors(&header, NULL, &count);
  if (status) return status;

  /* count <= CHM_MAX_SECTIONS, so this is a few megabytes at most */
  uint64_t entry_bytes = (uint64_t)count * sizeof(chm_entry);
  container->allocated = chm_container_bytes(count);
  container->entries = chm_allocate(allocator, container->allocated);
  if (!container->entries) return CHM_ERROR_MEMORY;
  container->count = count;
  container->by_name = (uint32_t *)(void *)((uint8_t *)container->entries + entry_bytes);
  container->contents = header.metadata.contents.start;
  container->contents_bytes = header.metadata.contents.bytes;
  container->config = header.metadata.config.start;
  container->config_bytes = header.metadata.config.bytes;
  container->tokenizer = header.metadata.tokenizer.start;
  container->tokenizer_bytes = header.metadata.tokenizer.bytes;
  container->model = header.metadata.model.start;
  container->model_bytes = header.metadata.model.bytes;
  status = walk_tensors(&header, container->entries, &count);
  for (uint32_t i = 0; i < count; ++i) container->by_name[i] = i;
  sort_by_name(container);
  for (uint32_t i = 1; !status && i < count; ++i)
    if (!entry_less(&container->entries[container->by_name[i - 1]], &container->entries[container->by_name[i]]))
      status = invalid(&header, "two sections have the same name");
  if (!status && !(flags & CHM_OPEN_SKIP_CHECKSUMS)) status = check_contents(container, what);
  if (status) chm_container_close(container, allocator);
  return status;
}

void chm_container_close(chm_container *container, const chm_allocator *allocator) {
  chm_release(allocator, container->entries, container->allocated);
  container->entries = NULL;
}

const chm_entry *chm_container_find(const chm_container *container, const char *name) {
  size_t name_bytes = 0;
  while (name[name_bytes]) ++name_bytes;
  for (uint32_t low = 0, high = container->count; low < high;) {
    uint32_t middle = low + (high - low) / 2;
    const chm_entry *entry = &container->entries[container->by_name[middle]];
    int order = compare_names((const uint8_t *)name, name_bytes, entry->name, entry->name_bytes);
    if (!order) return entry->is_pad ? NULL : entry;
    if (order < 0) high = middle;
    else low = middle + 1;
  }
  return NULL;
}

CHM_COLD_END
