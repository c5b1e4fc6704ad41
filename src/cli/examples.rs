//! Examples that `--help` ends with, for the commands that people use first.

/// `carteiro campaign`
pub(super) const CAMPAIGN: &str = "\
A campaign from its file to its report:
  carteiro campaign plan vencimento.toml debtors.csv
  carteiro campaign create vencimento.toml
  carteiro campaign load vencimento debtors.csv
  carteiro campaign start vencimento --first 100
  carteiro campaign resume vencimento
  carteiro campaign status vencimento --watch
  carteiro campaign report vencimento -o report.csv";

/// `carteiro campaign create`
pub(super) const CREATE: &str = "\
Examples:
  carteiro campaign create vencimento.toml
  carteiro campaign create vencimento.toml --dry-run     # check everything, create nothing";

/// `carteiro campaign load`
pub(super) const LOAD: &str = "\
Examples:
  carteiro campaign load vencimento debtors.csv
  carteiro campaign load vencimento debtors.xlsx --sheet novembro
  carteiro campaign load vencimento debtors.csv --dry-run
  zcat debtors.csv.gz | carteiro campaign load vencimento -

Ends with 3 when rows were rejected; they are in debtors.csv.rejects.csv with line, code and reason.
Duplicates are in debtors.csv.duplicates.csv with the line and load that they repeat.";

/// `carteiro campaign start`
pub(super) const START: &str = "\
Examples:
  carteiro campaign start vencimento                   # shows what will be sent, and asks
  carteiro campaign start vencimento --yes             # without a terminal
  carteiro campaign start vencimento --first 100       # exactly 100, then a pause
  carteiro campaign start vencimento --at 09:00        # the next 9 o'clock in Brasília";

/// `carteiro campaign status`
pub(super) const STATUS: &str = "\
Examples:
  carteiro campaign status
  carteiro campaign status vencimento --watch
  carteiro campaign status vencimento --json | jq .states";

/// `carteiro campaign report`
pub(super) const REPORT: &str = "\
Examples:
  carteiro campaign report vencimento -o report.csv
  carteiro campaign report vencimento -o report.csv --join debtors.csv --excel-br
  carteiro campaign report vencimento -o report.parquet
  carteiro campaign report vencimento -o - | head

The file holds personal data: only its owner may read it. An older file of that name is replaced once the new one is whole.";

/// `carteiro message`
pub(super) const MESSAGE: &str = "\
Examples:
  carteiro message send segunda-via --to 11987654321 --value nome=Maria --value linha=\"$LINE\"
  echo 11987654321 | carteiro message send segunda-via --to - --value nome=Maria --ref 2026-118

The campaign says template, numbers and priority: write priority = \"urgent\" in its file to overtake all others, and
dedup = \"person_ref\" if one person may get several, each with a --ref of its own.";

/// `carteiro stop`
pub(super) const STOP: &str = "\
A stop is in force in every process when the command returns; what is queued for the person or the debt is suppressed.

Examples:
  echo 11987654321 | carteiro stop add -
  carteiro stop add --ref C-118 --kind paid --account 100000000000001
  carteiro stop import nao-me-ligue.csv --kind do_not_contact --from-column cadastro --days-after 30
  carteiro stop import clientes.csv --kind exempt --account 100000000000001
  echo 11987654321 | carteiro stop list -
  echo 11987654321 | carteiro stop remove - --kind optout --yes";

/// `carteiro stop import`
pub(super) const STOP_IMPORT: &str = "\
The file is CSV with a header, read like recipients: any delimiter, UTF-8 or Windows-1252. People are in a column phone,
telefone or celular; debts (paid, disputed) in ref, contrato or referencia; the first day of a do_not_contact in from or
vigencia, as aaaa-mm-dd or dd/mm/aaaa. Importing a file again adds only what is missing.

Ends with 3 when rows were rejected; they are in FILE.rejects.csv with line, code and reason.";

/// `carteiro number`
pub(super) const NUMBER: &str = "\
Examples:
  carteiro number list
  carteiro number pause 550000000000001
  carteiro number resume 550000000000001 --dry-run";

/// `carteiro redis accept`
pub(super) const REDIS_ACCEPT: &str = "\
A process that finds a Redis without campaigns that it knows, or with an older state, sends nothing (`rolled_back`), since
it would send again what was sent already. The best answer is to bring back the right Redis; sending goes on by itself.
Where that is lost, look at its campaigns, cancel those that were sent meanwhile, and accept it.

Examples:
  carteiro redis accept --dry-run      # what is wrong
  carteiro redis accept";

/// `carteiro serve`
pub(super) const SERVE: &str = "\
Signals:
  SIGTERM, SIGINT   finish what is in flight, then end; a second one ends at once
  SIGHUP            read tokens, numbers, rates, portfolios, the error table and stop words again; what is not valid is refused and logged

Examples:
  carteiro serve --config /etc/carteiro/carteiro.toml 2>> serve.log
  systemctl reload carteiro        # with ExecReload=/bin/kill -HUP $MAINPID in its unit";

/// `carteiro config`
pub(super) const CONFIG: &str = "\
Examples:
  carteiro config check vencimento.toml
  carteiro config show --origin
  CARTEIRO_CLOUD__TIMEOUT=20s carteiro config show --origin";

/// `carteiro recipients generate`
pub(super) const GENERATE: &str = "\
Examples:
  carteiro recipients generate --count 1000 --seed 7 -o debtors.csv
  carteiro recipients generate --count 1000 | head";

/// `carteiro completions`
pub(super) const COMPLETIONS: &str = "\
Examples:
  source <(carteiro completions bash)
  carteiro completions zsh > ~/.zfunc/_carteiro
  carteiro completions fish > ~/.config/fish/completions/carteiro.fish";

/// `carteiro man`
pub(super) const MAN: &str = "\
Examples:
  carteiro man campaign load | man -l -
  carteiro man -o /usr/local/share/man/man1";
