// Call Tracker: gives each visit its phone number. Apache-2.0.
// Whatever goes wrong, the page keeps its own.
(main => { try { main(); } catch (e) { /* the page must not notice */ } })(() => {
  'use strict';

  const safely = act => (...given) => {
    try { return act(...given); } catch (e) { /* nor here */ }
  };
  const api = window.CallTracker = window.CallTracker || {};
  if (!api.sites) {
    const each = act => Object.values(api.sites).map(safely(act));
    Object.assign(api, {
      sites: {},
      agreed: api.consent, // set before this loads
      swap: node => { each(site => site.swap(node)); },
      getNumbers: () => [].concat(...each(site => site.getNumbers())),
      consent: yes => { api.agreed = !!yes; each(site => site.consent()); },
    });
  }

  const tag = document.currentScript || document.querySelector('script[src*="/dni/"]');
  const base = tag.src.slice(0, tag.src.lastIndexOf('/')), key = base.split('/').pop();
  if (api.sites[key]) return;
  const name = '_ct_' + key.slice(-8), { consent: mode, cookieDomain: domain } = tag.dataset;
  const query = new URLSearchParams(location.search), test = query.has('ct_test');

  const EDGE = '\uffff'; // between text nodes
  const GAP = `[\\s().,/\\xb7\\u2022\\xad\\u200b-\\u2015\\u202a-\\u202e\\u2060\\u2212${EDGE}-]{0,6}`;
  // Of a longer number, or another country's.
  const MORE_BEFORE = RegExp(`(\\d[-./]?|\\+\\d{1,3}${GAP})$`), MORE_AFTER = /^[-./]?\d/;

  const targets = new Map(); // by target
  const patterns = []; // also of numbers shown: pages copy texts

  const national = (number, { code }) => number.startsWith('+' + code) && number.slice(code.length + 1);
  const spaced = digits => digits.replace(/./g, '$&' + GAP);

  const learn = (number, swap) => {
    const known = patterns.find(pattern => pattern.number === number);
    if (known) {
      // Shown for two targets.
      if (known.swap !== swap && !targets.has(number)) known.swap = 0;
      return;
    }
    const local = national(number, swap), digits = local || number.slice(1);
    const match = RegExp(`(\\(?(?:(?:(?:\\+|00|011)${GAP})?${spaced(local ? swap.code : '')})?` +
      `(?:${spaced(swap.trunk || '')})?)` + [...digits].join(GAP), 'g');
    patterns.push({ number, swap, local, digits, match });
  };

  // Keeps the page's format.
  const rewrite = (text, node) => {
    const chars = text.split(''), all = text.replace(/\D/g, '');
    patterns.forEach(({ swap, local, digits, match }) => {
      if (!swap || !all.includes(digits)) return;
      match.lastIndex = 0;
      for (let hit; (hit = match.exec(text));) {
        const start = hit.index, end = match.lastIndex;
        if (MORE_BEFORE.test(text.slice(0, start).slice(-9)) || MORE_AFTER.test(text.slice(end))) {
          match.lastIndex = start + 1;
          continue;
        }
        places.push({ swap, node, text: hit[0] });
        // Another country's is written in full.
        const kept = local && national(swap.number, swap), fresh = kept || swap.number;
        const slots = kept ? [] : [start];
        for (let i = start + hit[1].length; kept && i < end; i++) if (/\d/.test(text[i])) slots.push(i);
        // More digits go to the end; with less, the end goes.
        slots.forEach((slot, i) => { chars[slot] = slots[i + 1] ? fresh[i] || '' : fresh.slice(i); });
        const last = slots[Math.min(fresh.length, slots.length) - 1];
        for (let i = last + 1; i < end; i++) if (chars[i] !== EDGE) chars[i] = '';
      }
    });
    return chars.join('');
  };

  // Values change, never nodes: frameworks own those.

  const SKIP = 'head,script,style,noscript,template,textarea,input,select,' +
    '[contenteditable]:not([contenteditable=false]),[data-ct-noswap]';
  const INLINE = /^(A|ABBR|B|BD[IO]|CODE|EM|FONT|I|LABEL|MARK|S|SMALL|SPAN|STRONG|SU[BP]|TIME|U|WBR|#[tc].+)$/;
  const ATTRIBUTES = ['href', 'aria-label', 'title', 'alt'];
  const NOTABLE = '[href^="tel:" i],[href^="sms:" i],[aria-label],[title],[alt],:not(:defined)';

  const notes = new WeakMap(); // by node: what the page had, what it got
  let run = [], places, changed;

  // An attribute, or text nodes in a row.
  const treat = nodes => {
    const shown = nodes.map(node => node.nodeValue);
    if (!/\d/.test(shown)) return;
    const mine = nodes.map(node => notes.get(node) || {});
    const own = mine.map((note, i) => note.shown === shown[i] ? note.own : shown[i]);
    const from = places.length, unescaped = uri => uri.replace(/%2[089bd]/gi, unescape);
    let text = own.join(EDGE);
    if (nodes[0].name === 'href') text = text.replace(/^[^?]*/, unescaped);
    const fresh = rewrite(text, nodes[0]), values = places[from] ? fresh.split(EDGE) : own;
    // The page fights back: it shall have its own.
    if (mine.some(note => note.times > 20) || values[nodes.length]) return;
    const second = Date.now() / 1e3 | 0;
    nodes.forEach((node, i) => {
      if (values[i] === shown[i]) return;
      const note = mine[i], times = note.second === second ? note.times + 1 : 1;
      notes.set(node, { second, times, own: own[i], shown: values[i] });
      node.nodeValue = values[i];
      changed.push(...places.slice(from));
    });
  };

  const endRun = () => {
    if (run[0]) treat(run);
    run = [];
  };

  // Blocks divide texts.
  const gather = safely(node => {
    if (node.nodeType === 3) run.push(node);
    else if (!INLINE.test(node.nodeName) || node.matches && node.matches(SKIP)) endRun();
    else node.childNodes.forEach(gather);
  });

  const tops = new Set(); // blocks with a text to treat

  const add = safely(text => {
    let top = text.parentNode;
    while (top.parentNode && INLINE.test(top.nodeName)) top = top.parentNode;
    if (top.isConnected && !(top.closest && top.closest(SKIP))) tops.add(top);
  });

  const lookAt = safely(element => {
    ATTRIBUTES.forEach(attribute => {
      const value = element.getAttribute(attribute), use = attribute !== 'href' || /^(tel|sms):/i.test(value);
      if (use && /\d/.test(value) && !element.closest(SKIP)) treat([element.getAttributeNode(attribute)]);
    });
    // Has its shadow root later.
    if (element.localName.includes('-') && element.matches(':not(:defined)') && !notes.has(element)) {
      notes.set(element, customElements.whenDefined(element.localName).then(() => swap(element), () => {}));
    }
  });

  // At a node and everything in it.
  const look = safely(node => {
    if (node.nodeType === 3) add(node);
    if (!node.querySelectorAll) return;
    const texts = document.createTreeWalker(node, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) if (/\d/.test(texts.currentNode.data)) add(texts.currentNode);
    [node, ...node.querySelectorAll('*')].forEach(({ shadowRoot }) => {
      if (shadowRoot && !shadowRoot.host.closest(SKIP)) {
        watch(shadowRoot);
        look(shadowRoot);
      }
    });
    [node, ...node.querySelectorAll(NOTABLE)].forEach(lookAt);
  });

  let records = [], rounds = 0;

  const catchUp = safely(more => {
    places = [];
    changed = [];
    records.concat(observer.takeRecords()).forEach(({ type, target, addedNodes }) => {
      if (type === 'childList') addedNodes.forEach(look);
      else if (type === 'characterData') add(target);
      else lookAt(target);
    });
    records = [];
    if (more) more();
    tops.forEach(top => {
      top.childNodes.forEach(gather);
      endRun();
    });
    tops.clear();
    observer.takeRecords(); // our own
    const numbers = count(changed).filter(number => number.count);
    if (numbers[0]) document.dispatchEvent(new CustomEvent('calltracker:swapped', { detail: { numbers } }));
  });

  // Thirty answers a second, so that nothing loops.
  const observer = new MutationObserver(fresh => {
    records = records.concat(fresh);
    if (rounds > 30) return;
    catchUp();
    if (changed[0] && !rounds++) setTimeout(() => { rounds = 0; catchUp(); }, 1000);
  });

  const watch = where => observer.observe(where, {
    subtree: true, childList: true, characterData: true, attributeFilter: ATTRIBUTES,
  });

  const count = list => [...targets.values()].map(({ target, number }) =>
    ({ target, number, count: new Set(list.filter(place => place.swap.target === target)).size }));

  const swap = (node = document) => {
    places = [];
    catchUp(() => targets.size && look(node));
    return places;
  };

  const show = safely(swaps => {
    targets.forEach(swap => { swap.number = swap.target; });
    swaps.forEach(fresh => targets.set(fresh.target, Object.assign(targets.get(fresh.target) || {}, fresh)));
    targets.forEach(swap => learn(swap.target, swap));
    targets.forEach(swap => learn(swap.number, swap));
    if (targets.size) watch(document);
    swap();
  });

  const gpc = navigator.globalPrivacyControl;
  const bot = /([^u]bot|crawler|spider)\b|headless|lighthouse|slurp/i.test(navigator.userAgent);
  let session = '', asked, turn = 0, pulse, beatAt = 0, lastUrl, routing;

  const recall = safely(() => document.cookie.match(`(?:^|; )${name}=([\\w.-]+)~([\\w.-]+)`));
  const keep = safely((value, days) => {
    document.cookie = `${name}=${value}; path=/; max-age=${days * 86400}; SameSite=Lax` +
      (domain ? '; domain=' + domain : '') + (location.protocol === 'https:' ? '; Secure' : '');
  });
  const forget = safely(() => {
    session = '';
    if (recall()) keep('', 0);
    delete sessionStorage[name];
  });
  const mayKeep = () => !gpc && (api.agreed === undefined ? mode !== 'required' || !!recall() : api.agreed);

  // A text needs no preflight.
  const post = async (path, body) => {
    try {
      const stop = new AbortController();
      setTimeout(() => stop.abort(), 1500);
      const response = await fetch(base + path,
        { method: 'POST', body: JSON.stringify(body), credentials: 'omit', signal: stop.signal });
      return response.status === 200 ? await response.json() : {};
    } catch (e) { return {}; }
  };

  const ask = async (view = true) => {
    const mine = ++turn, consent = asked = mayKeep(), [, visitor = '', token = ''] = consent && recall() || [];
    if (view) lastUrl = location.href;
    const { swaps = [], debug, ...given } = await post('/session', {
      visitor, session: token, url: lastUrl, referrer: document.referrer, title: document.title,
      consent, take: !gpc && !bot, view, test, debug: query.get('ct_debug') || '',
    });
    if (mine !== turn) return;
    if (!consent) forget();
    else if (given.session) {
      session = given.session;
      keep(given.visitor + '~' + session, given.days);
      pulse = pulse || setInterval(beat, (given.heartbeat || 60) * 1000);
    }
    safely(() => { if (consent && !test) sessionStorage[name] = JSON.stringify(swaps); })();
    show(swaps);
    route();
    if (debug) {
      site.debug = debug;
      document.head.appendChild(document.createElement('script')).src = base + '/debug.js';
    }
  };

  const beat = async () => {
    if (!session || document.visibilityState !== 'visible' || Date.now() - beatAt < 500) return;
    beatAt = Date.now();
    if ((await post('/heartbeat', { session })).renew) ask(false);
  };

  // Routers' steps come in bursts, titles later.
  const route = () => {
    clearTimeout(routing);
    routing = setTimeout(() => {
      const url = location.href, page = href => href.replace(/#(?!!?\/).*/, '');
      if (!session || page(url) === page(lastUrl)) return;
      const view = { session, url, referrer: lastUrl, title: document.title };
      navigator.sendBeacon(base + '/page', JSON.stringify(view));
      lastUrl = url;
    }, 100);
  };

  const start = () => {
    ['pushState', 'replaceState'].forEach(step => {
      const own = history[step];
      history[step] = function (...given) {
        const result = own.apply(this, given);
        route();
        return result;
      };
    });
    addEventListener('popstate', route);
    addEventListener('hashchange', route);
    addEventListener('pageshow', event => { if (event.persisted) beat(); });
    document.addEventListener('visibilitychange', beat);
    // The last page's numbers, until the answer.
    safely(() => { if (mayKeep() && !test) show(JSON.parse(sessionStorage[name])); })();
    ask();
  };

  const site = api.sites[key] = {
    swap,
    getNumbers: () => count(swap()),
    consent() {
      if (!api.agreed) forget();
      if (asked !== undefined && asked !== mayKeep()) ask();
    },
  };
  if (document.prerendering) document.addEventListener('prerenderingchange', start, { once: true });
  else start();
});
