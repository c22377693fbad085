"""A right automation file, and what can be wrong in it: a text of it, what a person wrote instead, and what the line says.

Each line begins with ``automations/daily.yaml:``.
"""

import unicodedata

GOOD = """\
folder: Blog
minutes_by_hand: 15
workflow:
  title: Daily
  workflow_definition:
    parameters:
      - {key: day, parameter_type: workflow, workflow_parameter_type: string, default_value: x}
      - key: naver
        parameter_type: credential
    blocks:
      - include: common/open.yaml
      - block_type: code
        label: write
        code: |
          return {"a": 1}  # {{ a note }}
        parameter_keys: [naver]
credentials:
  naver: naver-account
schedules:
  mornings: {cron: "0 9 * * 1-5", timezone: Asia/Seoul, parameters: {day: y}}
"""
COMMON = """\
- block_type: goto_url
  label: open
  url: https://example.com/{{ day }}
- block_type: wait
  label: settle
  wait_sec: 2
"""

MISTAKES: list[tuple[str, str, str]] = [
    ("folder: Blog", "cell: Shop", '1: cell: "Shop" is not a name; write lower case letters, digits and hyphens'),
    ("title: Daily", "titel: Daily", "4: titel: unknown key; write `title`"),
    ("  title: Daily\n", "", "3: workflow: title is missing; write it"),
    ("  title: Daily", "  title: 5", "4: title: 5 is not text; write text"),
    ("folder: Blog", "folder: 5", "1: folder: 5 is not text; write text"),
    ("folder: Blog", "foldr: Blog", "1: foldr: unknown key; write `folder`"),
    ("folder: Blog", "folder: [a", "2: is not valid YAML (expected ',' or ']', but got ':'); correct this line"),
    ("folder: Blog", "minutes_by_hand: 1", "2: is not valid YAML (found duplicate key"),
    ("minutes_by_hand: 15", "minutes_by_hand: 0", "2: minutes_by_hand: 0 is out of range; write more than 0"),
    ("minutes_by_hand: 15", "minutes_by_hand: soon", '2: minutes_by_hand: "soon" is not a number; write a number'),
    ("label: write", "label: 1write", '13: blocks.1write.label: "1write" is not a label; write letters, digits'),
    ("label: write", "label: open", '13: blocks.open.label: "open" is the label of another block; write another one'),
    ("        label: write\n", "", "12: blocks.2: label is missing; write it"),
    ("code: |", "kode: |", "14: blocks.write.kode: unknown key; write `code`"),
    ("block_type: code", "block_type: cod", '12: blocks.write.block_type: "cod" is not possible here; write code'),
    ("block_type: code", "block_typ: code", "12: blocks.write: block_type is missing; write it"),
    ("[naver]", "[nave]", '16: blocks.write.parameter_keys.0: "nave" is not a parameter; write `naver`'),
    ("[naver]", "naver", '16: blocks.write.parameter_keys: "naver" is not a list or null; write a list or null'),
    (
        "parameter_keys: [naver]",
        "next_block_label: opn",
        '16: blocks.write.next_block_label: "opn" is not the label of a block; write `open`',
    ),
    (
        "parameter_keys: [naver]",
        "continue_on_failure: often",
        '16: blocks.write.continue_on_failure: "often" is not true or false',
    ),
    (
        "    parameters:\n",
        "    finally_block_label: end\n    parameters:\n",
        '6: finally_block_label: "end" is not the label of a block',
    ),
    ("string,", "strng,", '7: parameters.day.workflow_parameter_type: "strng" is not possible here; write string'),
    ("parameter_type: credential", "parameter_type: creds", '9: parameters.naver.parameter_type: "creds" is not possible here'),
    ("{key: day", "{key: naver", "8: parameters.naver: has the key of another parameter; write another key"),
    ("{key: day", "{kee: day", "7: parameters.0.kee: unknown key; write `key`"),
    ("common/open", "common/none", "11: include: automations/common/none.yaml does not exist; write it, or remove this line"),
    (
        "common/open.yaml",
        "../../etc/passwd",
        '11: include: "../../etc/passwd" is not a file below automations/; write common/NAME.yaml',
    ),
    ("naver: naver-account", "naver: nope", '18: credentials.naver: "nope" is not a credential of the stack; add it below'),
    (
        "  naver: naver-account",
        "  nver: naver-account",
        "18: credentials.nver: is not a parameter of the type credential; write `naver`",
    ),
    (
        "  naver: naver-account",
        "  nver: naver-account",
        "8: parameters.naver: has no credential; write credentials: {naver: NAME}",
    ),
    ("0 9 * * 1-5", "0 9 * * 8", '20: schedules.mornings.cron: "0 9 * * 8" is not a cron expression; write five fields'),
    ("0 9 * * 1-5", "0 0 9 * * 1", '20: schedules.mornings.cron: "0 0 9 * * 1" is not a cron expression'),
    ("0 9 * * 1-5", "* * * * *", "runs more often than every five minutes, which the server refuses; write for example"),
    ("0 9 * * 1-5", "0,4 9 * * *", "runs more often than every five minutes"),
    ("0 9 * * 1-5", "0 9 30 2 *", "never runs; write a day that exists"),
    ("Asia/Seoul", "KST", '20: schedules.mornings.timezone: "KST" is not a time zone; write a name such as Asia/Seoul'),
    ("timezone: Asia/Seoul, ", "", "20: schedules.mornings: timezone is missing; write it"),
    ("{day: y}", "{dai: y}", "20: schedules.mornings.parameters.dai: is not a parameter of the workflow; write `day`"),
    ("mornings:", "Mornings:", '"Mornings" is not a name; write lower case letters, digits and hyphens'),
    (
        "workflow:\n",
        "workflow:\n  max_elapsed_time_minutes: x\n",
        '4: max_elapsed_time_minutes: "x" is not a whole number or null',
    ),
    ("workflow:\n", "workflow:\n  folder_id: fld_1\n", "4: folder_id: unknown key; write `folder: NAME`"),
    ("folder: Blog", 'folder: ""', "1: folder: is empty; write it"),
    (
        "parameter_keys: [naver]",
        "parameter_keys: [open]",
        '16: blocks.write.parameter_keys.0: "open" is not a parameter',
    ),
    (
        "  - include: common/open.yaml",
        "  - {block_type: conditional, label: which, branch_conditions: [{is_default: true, next_block_label: wrte}]}",
        '11: blocks.which.branch_conditions.0.next_block_label: "wrte" is not the label of a block; write `write`',
    ),
    (
        "  - include: common/open.yaml",
        "  - {block_type: for_loop, label: each, loop_over_parameter_key: dai, loop_blocks: []}",
        '11: blocks.each.loop_over_parameter_key: "dai" is not a parameter; write `day`',
    ),
    (
        "  - {key: day,",
        "  - {key: later, parameter_type: context, source_parameter_key: dai}\n      - {key: day,",
        '7: parameters.later.source_parameter_key: "dai" is not a parameter; write `day`',
    ),
    ("title: Daily", 'title: "{{ a }"', "4: title: is not a template that Jinja can read (unexpected '}'); correct the braces"),
    (
        'return {"a": 1}',
        'return "{{ dai }}"',
        "14: blocks.write.code: dai is not a parameter or an output; write `day`",
    ),
    (
        'return {"a": 1}',
        'return "{{ day | uppper }}"',
        "14: blocks.write.code: uppper is not a filter that the server's Jinja knows; write `upper`",
    ),
    (
        'return {"a": 1}',
        'return "{% if day is definde %}{% endif %}"',
        "14: blocks.write.code: definde is not a test that the server's Jinja knows; write `defined`",
    ),
    ('return {"a": 1}', 'return "{{ naver.pasword }}"', "14: blocks.write.code: naver has no pasword; write `password`"),
    ('return {"a": 1}', 'return "{{ day.__class__ }}"', "14: blocks.write.code: day.__class__ is refused by the server; remove"),
    (
        'return {"a": 1}',
        'return "{{ write_output }}"',
        "14: blocks.write.code: write_output is the output of a block that does not run",
    ),
    ('return {"a": 1}', 'return "{{ current_value }}"', "14: blocks.write.code: current_value is known inside of a loop only"),
    ("{key: day", "{key: day-of-week", '7: parameters.day-of-week.key: "day-of-week" is not a key; write letters, digits'),
    ("{key: day", "{key: current_date", '7: parameters.current_date.key: "current_date" is a name of the server\'s own; write'),
    ("{key: day", "{key: write_output", "7: parameters.write_output: has the name of a block's output; write another key"),
    (
        "parameter_type: workflow, workflow_parameter_type: string, default_value: x",
        "parameter_type: output",
        "7: parameters.day: is an output, which each block has by itself; remove it",
    ),
    (
        "  - include: common/open.yaml",
        "  - {block_type: for_loop, label: each, loop_blocks: []}",
        "11: blocks.each: goes over nothing; write loop_variable_reference",
    ),
    (
        "  - include: common/open.yaml",
        "  - {block_type: conditional, label: which, branch_conditions: []}",
        "11: blocks.which: has no branch; write branch_conditions",
    ),
    (
        "  - include: common/open.yaml",
        "  - {block_type: conditional, label: which, branch_conditions: [{is_default: true}, {is_default: true}]}",
        "11: blocks.which.branch_conditions: has more than one default; write is_default in one of them",
    ),
    (
        "  - include: common/open.yaml",
        "  - {block_type: conditional, label: which, branch_conditions: [{next_block_label: write}]}",
        "11: blocks.which.branch_conditions.0: has to have criteria or to be the default; write one of the two",
    ),
    (
        "    blocks:\n",
        "    version: 1\n    blocks:\n      - {block_type: wait, label: first, wait_sec: 1, next_block_label: open}\n",
        "10: version: 1 has no branches and no next_block_label; write 2, or remove it",
    ),
    ('return {"a": 1}', "return 1 +", "14: blocks.write.code: is not Python (invalid syntax, line 1 of it); correct it"),
    (
        "  - include: common/open.yaml",
        "  - {block_type: send_email, label: tell, recipients: [a@example.com], subject: x, body: x}",
        "11: blocks.tell: has no sender; write it, or `transport: gmail`",
    ),
    # What the server refuses and no schema shows (components/automations/refusals.py).
    *(
        ("workflow:\n", f"workflow:\n  {wrong}\n", line)
        for wrong, line in [
            ("browser_type: chrome", "4: browser_type: is refused by a server of one's own; remove it"),
            ("run_with: codes", '4: run_with: "codes" is not possible here, and the server would take agent'),
            ("proxy_location: {country: KP}", '4: proxy_location.country: "KP" is not a country that the server knows'),
            ("proxy_location: {city: Seoul}", "4: proxy_location: has no country; write country: KR, or url:"),
            ("proxy_location: {country: KR, town: x}", "4: proxy_location.town: unknown key; known here: "),
            ("proxy_location: {country: KR, isISP: often}", '"often" is not true or false; write it'),
            ("webhook_callback_url: ftp://a", "4: webhook_callback_url: is not an address; write https://"),
        ]
    ),
    *(
        ("    parameters:\n", f"    {wrong}\n    parameters:\n", line)
        for wrong, line in [
            ("browser_settings: {timezone_id: KST}", '6: browser_settings.timezone_id: "KST" is not a time zone; write a name'),
            (
                "retry_policy: {retry_on: [{status: failed}, {status: failed}]}",
                '6: retry_policy.retry_on.1.status: "failed" has a rule already; write its error codes there',
            ),
        ]
    ),
    *(
        ("parameter_type: credential", wrong, line)
        for wrong, line in [
            (
                "parameter_type: credential\n        credential_ids: []",
                "10: parameters.naver.credential_ids: is empty; write at least one id, or remove it",
            ),
            (
                "parameter_type: credential\n        fallback_trigger: any_failure",
                "10: parameters.naver.fallback_trigger: has nothing to fall back to; write fallback_credential_ids, too",
            ),
            (
                "parameter_type: bitwarden_login_credential\n        bitwarden_client_id_aws_secret_key: a\n"
                "        bitwarden_client_secret_aws_secret_key: b\n        bitwarden_master_password_aws_secret_key: c",
                "8: parameters.naver: names nothing in Bitwarden; write bitwarden_collection_id or bitwarden_item_id",
            ),
        ]
    ),
    *(
        ("parameter_keys: [naver]", f"error_code_mapping: {{{wrong}}}", f"16: blocks.write.error_code_mapping{line}")
        for wrong, line in [
            ("' LOGIN': x", ". LOGIN: is not an error code; write 1 to 128 characters without spaces around"),
            ("LOGIN: ''", ".LOGIN: is not a description; write 1 to 2000 characters"),
            ('LOGIN: "a\\nb"', ".LOGIN: has a line break or a character that cannot be seen"),
            (", ".join(f"C{number}: x" for number in range(65)), ": has 65 codes; write at most 64"),
            (", ".join(f"C{number}: {'x' * 1990}" for number in range(17)), ": is longer than 32768 bytes; write shorter"),
        ]
    ),
    *(
        ("  - include: common/open.yaml", f"  - {{label: it, {block}}}", line)
        for block, line in [
            (
                "block_type: terminate, reason: x, error_code: 로그인",
                '11: blocks.it.error_code: "로그인" is not an error',
            ),
            ("block_type: terminate, reason: ' '", "11: blocks.it.reason: is empty; write why the run ends here"),
            ("block_type: validation", "11: blocks.it: looks for nothing; write complete_criterion or terminate_criterion"),
            ("block_type: action, navigation_goal: ''", "11: blocks.it: has nothing to do; write navigation_goal"),
            ("block_type: navigation, navigation_goal: x, engine: ui-tars", "11: blocks.it.engine: ui-tars is off on a server"),
            (
                "block_type: extraction, data_extraction_goal: x, export_enabled: true",
                "11: blocks.it.export_enabled: needs the form of the records; write export_data_schema, too",
            ),
            (
                "block_type: http_request, save_response_as_file: true, secret_response_paths: [a]",
                "11: blocks.it.secret_response_paths: does not go with save_response_as_file; remove one of the two",
            ),
            (
                "block_type: web_search, query: x, no_match_error_code: NONE",
                "11: blocks.it.no_match_error_code: needs something to match; write prompt, too",
            ),
            (
                "block_type: send_email, sender: a@b.c, recipients: [a@b.c], subject: x, body: x, cc: [d@b.c]",
                "11: blocks.it.cc: is for `transport: gmail` only; write the address below recipients",
            ),
            (
                "block_type: send_email, transport: gmail, recipients: [a@b.c], subject: x, body: x, custom_smtp_port: 25",
                "11: blocks.it.custom_smtp_port: does not go with `transport: gmail`; remove one of the two",
            ),
            (
                "block_type: send_email, sender: a, recipients: [a], subject: x, body: x, smtp_host_secret_parameter_key: dai",
                '11: blocks.it.smtp_host_secret_parameter_key: "dai" is not a parameter; write `day`',
            ),
            (
                "block_type: wait, wait_sec: 1}\n      - {label: b, block_type: wait, wait_sec: 1, next_block_label: write",
                '10: blocks: has two beginnings, "it" and "b", because no block leads to them; write next_block_label in each',
            ),
        ]
    ),
    (
        "    blocks:\n      - include: common/open.yaml\n",
        "    blocks:\n      - {block_type: wait, label: a, wait_sec: 1, next_block_label: b}\n"
        "      - {block_type: wait, label: b, wait_sec: 1, next_block_label: a}\n",
        "10: blocks: goes in a circle by next_block_label; remove one of them, or use a loop",
    ),
    (
        "parameter_keys: [naver]",
        "next_block_label: inner\n      - {block_type: for_loop, label: each, loop_variable_reference: day, "
        "loop_blocks: [{block_type: wait, label: inner, wait_sec: 1}]}",
        '16: blocks.write.next_block_label: "inner" is not the label of a block in the same list; write one that is',
    ),
    (
        "    parameters:\n",
        "    finally_block_label: inner\n    parameters:\n",
        '6: finally_block_label: "inner" is not the label of a block',
    ),
    (
        "label: write",
        f"label: {unicodedata.normalize('NFD', '글쓰기')}",
        "has characters that look like others; type 글쓰기 again",
    ),
    ("{key: day", "{key: ﬁrst", "has characters that look like others; type first again"),
]
