// Call Tracker's overlay for a signed ?ct_debug= link: each number that was found on the page, and why each
// target shows what it shows. tracker.js loads it only if the server has answered with its decisions.
//
// Built from nodes and styled property by property, so that a page with a strict policy shows it, too, and no
// text of a page or a tracker is ever read as markup.
(() => {
  'use strict';

  const key = document.currentScript.src.split('/').slice(-2)[0];
  const site = window.CallTracker.sites[key];
  if (!site || site.overlay) return;

  const INK = '#1c2430', FAINT = '#5d6877', LINE = '#d5dbe3', GOOD = '#0b6b3a', BAD = '#9a2a1f';

  const OUTCOMES = {
    campaign: 'campaign', free: 'pool', held: 'pool', returned: 'pool', reused: 'pool, taken over',
    exhausted: 'pool, exhausted', refused: 'pool, refused', empty: 'pool, empty', fallback: 'fallback number',
    unmatched: 'no rule matched', no_consent: 'not without consent', test: 'test number',
  };

  const make = (tag, style, ...children) => {
    const element = document.createElement(tag);
    Object.keys(style).forEach(property => element.style.setProperty(property, style[property]));
    element.append(...children.filter(child => child !== '' && child != null));
    return element;
  };
  const faint = text => make('span', { color: FAINT }, text);
  const strong = text => make('strong', {}, text);
  const heading = text =>
    make('h2', { font: 'inherit', 'font-weight': '700', margin: '14px 0 4px' }, text);
  const list = items => make('ul', { margin: '0', padding: '0', 'list-style': 'none' }, ...items);
  const item = (...children) =>
    make('li', { padding: '5px 0', 'border-top': `1px solid ${LINE}` }, ...children);
  const line = (...children) => make('div', {}, ...children);

  // `p#contact > a.phone`, through shadow roots.
  const pathOf = element => {
    const steps = [];
    for (let at = element; at && at !== document.body && steps.length < 3; ) {
      const name = at.localName + (at.id ? '#' + at.id : at.classList.length ? '.' + at.classList[0] : '');
      steps.unshift(name);
      at = at.id ? null : at.parentElement || at.getRootNode().host || null;
    }
    return steps.join(' > ');
  };

  // An attribute's node knows its element, a text's its parent.
  const elementOf = node => node.ownerElement || node.parentElement || node.getRootNode().host || null;

  const reveal = element => {
    element.scrollIntoView({ block: 'center' });
    element.animate(
      [{ outline: '3px solid #e0a100' }, { outline: '3px solid transparent' }], { duration: 2000 });
  };

  const placeItem = ({ node, text, swap }) => {
    const element = elementOf(node);
    const where = (node.name ? `${node.name} of ` : 'text in ') + (element ? pathOf(element) : 'the page');
    const shown = swap.number === swap.target ? 'kept' : `→ ${swap.number}`;
    const entry = item(
      line(strong(text.replace(/\uffff/g, '')), ' ', shown),
      line(faint(`${where} · target ${swap.target}`)),
    );
    if (element) {
      entry.style.setProperty('cursor', 'pointer');
      entry.addEventListener('click', () => reveal(element));
    }
    return entry;
  };

  const nameOf = ({ tracker_id: id, tracker_name: name }) =>
    name ? `${name} (${id})` : id ? `tracker ${id}` : 'no tracker';

  const triedItem = rule => line(
    make('span', { color: rule.matched ? GOOD : BAD }, rule.matched ? '✓ ' : '✗ '),
    rule.rule ? `${rule.rule} · ` : '', nameOf(rule), rule.why ? faint(` – ${rule.why}`) : '',
  );

  const decisionItem = decision => item(
    line(strong(decision.target), ' → ', strong(decision.number || decision.target), ' ',
      faint(OUTCOMES[decision.outcome] || decision.outcome || '')),
    line(nameOf(decision), decision.why ? faint(` – ${decision.why}`) : ''),
    make('div', { 'padding-left': '12px' }, ...(decision.tried || []).map(triedItem)),
  );

  const host = site.overlay = document.createElement('div');
  host.setAttribute('data-ct-noswap', '');
  host.id = 'calltracker-debug';
  // Open: tests and helpful people look inside. The page's style sheets stay outside all the same.
  const inside = host.attachShadow({ mode: 'open' });
  const body = make('div', { overflow: 'auto', padding: '0 14px 14px' });
  const close = make('button', {
    font: 'inherit', border: '0', background: 'none', color: INK, cursor: 'pointer', padding: '4px 8px',
  }, '✕');
  close.setAttribute('aria-label', 'Close');
  close.type = 'button';
  const panel = make('section', {
    position: 'fixed', right: '12px', bottom: '12px', width: 'min(420px, calc(100vw - 24px))',
    'max-height': '70vh', display: 'flex', 'flex-direction': 'column', 'box-sizing': 'border-box',
    'z-index': '2147483647', background: '#fff', color: INK, border: `1px solid ${LINE}`,
    'border-radius': '8px', 'box-shadow': '0 6px 24px rgba(20, 30, 45, .25)', 'text-align': 'left',
    font: '13px/1.45 system-ui, sans-serif', 'overflow-wrap': 'anywhere',
  }, make('header', {
    display: 'flex', 'justify-content': 'space-between', 'align-items': 'center', padding: '8px 6px 8px 14px',
    'border-bottom': `1px solid ${LINE}`,
  }, strong('Call Tracker: numbers on this page'), close), body);
  panel.setAttribute('role', 'region');
  panel.setAttribute('aria-label', 'Call Tracker: numbers on this page');
  inside.append(panel);

  const draw = () => {
    const places = site.swap(), decisions = (site.debug && site.debug.decisions) || [];
    body.replaceChildren(
      heading('Why'),
      decisions.length ? list(decisions.map(decisionItem)) : faint('The server decided about no number.'),
      heading(places.length === 1 ? '1 number found' : `${places.length} numbers found`),
      places.length ? list(places.map(placeItem)) : faint('None of the targets is on this page.'),
    );
  };

  close.addEventListener('click', () => {
    document.removeEventListener('calltracker:swapped', draw);
    host.remove();
  });
  document.addEventListener('calltracker:swapped', draw);
  document.body.append(host);
  draw();
})();
