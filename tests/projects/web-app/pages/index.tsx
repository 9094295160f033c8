import Head from 'next/head';
import { useState } from 'react';

export default function Home() {
  const [state, setState] = useState('NEW');
  return (
    <div>
      <Head>
        <title>{state}</title>
      </Head>
      <button onClick={() => setState('BOUGHT')}>Buy</button>
    </div>
  );
}
